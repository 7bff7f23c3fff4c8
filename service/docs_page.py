"""The service's description as pages for people, which load nothing else."""

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from service.openapi import PREDICT_EXAMPLE

_STYLE = """
:root{--ink:#1b2733;--paper:#fff;--faint:#5b6b7a;--line:#dde4ea;--code:#f2f5f8;--link:#0b62a8}
@media(prefers-color-scheme:dark){
:root{--ink:#d8e0e8;--paper:#12181f;--faint:#93a3b3;--line:#2b3743;--code:#1d2630;--link:#7db7ff}}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:var(--ink);background:var(--paper)}
a{color:var(--link)}h1{font-size:1.6rem}h2{font-size:1.25rem;margin:2.5rem 0 .5rem}
h3{font:600 1rem/1.5 ui-monospace,monospace;margin:2rem 0 .25rem;padding-top:.75rem;border-top:1px solid var(--line);
overflow-wrap:anywhere}
h3 b{display:inline-block;min-width:3.4rem;color:var(--faint)}
p{margin:.4rem 0;max-width:46rem}.faint{color:var(--faint)}
code,pre{font:14px/1.45 ui-monospace,monospace;background:var(--code);border-radius:4px;padding:.1rem .3rem}
pre{padding:.75rem;overflow-x:auto}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;margin:.5rem 0}
td,th{text-align:left;vertical-align:top;padding:.3rem .75rem .3rem 0;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--faint);font-size:.85rem}td code{overflow-wrap:anywhere}
@media(min-width:48rem){td:not(:last-child){white-space:nowrap}td:last-child{width:100%}}
summary{cursor:pointer;font:600 1rem/1.5 ui-monospace,monospace;margin:.5rem 0}
"""
_FIRST_REFUSAL = 400


def docs_page(described: dict[str, Any]) -> str:
    """The document as one page of plain HTML."""
    info = described["info"]
    tags = "".join(_tag(described, tag) for tag in described["tags"])
    schemas = "".join(_schema(name, schema) for name, schema in described["components"]["schemas"].items())
    return _page(
        info["title"],
        f"<p>{_prose(info['description'])} For programs: <a href='/openapi.json'>/openapi.json</a>.</p>"
        f"{_contents(described)}{tags}{_refusals(described)}<h2 id='schemas'>Records</h2>{schemas}",
    )


def index_page(name: str) -> str:
    """The page at the root."""
    links = {
        "/docs": "what can be asked, with examples",
        "/v1/model": "which model answers",
        "/readyz": "whether it answers",
        "/metrics": "counters for Prometheus",
        "/openapi.json": "the interface for programs",
    }
    rows = [(f"<a href='{path}'>{path}</a>", escape(words)) for path, words in links.items()]
    return _page(
        f"Kedge: {name}",
        f"<p>This address classifies images.</p>{_table(rows)}<pre>{escape(PREDICT_EXAMPLE)}</pre>",
    )


def _contents(described: dict[str, Any]) -> str:
    rows = [
        (
            f"<a href='#{_anchor(path, method)}'><code>{method.upper()} {escape(path)}</code></a>",
            escape(operation["summary"]),
        )
        for path, method, operation in _operations(described)
    ]
    return _table(rows)


def _tag(described: dict[str, Any], tag: dict[str, Any]) -> str:
    sections = [
        _operation(path, method, operation)
        for path, method, operation in _operations(described)
        if tag["name"] in operation["tags"]
    ]
    return f"<h2>{escape(tag['name'].capitalize())}</h2><p>{_prose(tag['description'])}</p>{''.join(sections)}"


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = [
        (f"<code>{escape(each['name'])}</code>", escape(each["in"]), _prose(each.get("description", "")))
        for each in operation["parameters"]
        if "name" in each
    ]
    answers = [
        f"<p>{status}: {escape(response['description'])}. {_links(response)}</p>"
        for status, response in operation["responses"].items()
        if int(status) < _FIRST_REFUSAL
    ]
    refusals = [status for status in operation["responses"] if int(status) >= _FIRST_REFUSAL]
    described = operation.get("description", "")
    return (
        f"<h3 id='{_anchor(path, method)}'><b>{method.upper()}</b> {escape(path)}</h3>"
        f"<p>{_prose(operation['summary'])}.{' ' if described else ''}{_prose(described)}</p>"
        + (f"<pre>{escape(operation['x-example'])}</pre>" if "x-example" in operation else "")
        + (_table(parameters, ("parameter", "in", "")) if parameters else "")
        + _bodies(operation)
        + "".join(answers)
        + (f"<p class='faint'><a href='#refusals'>Refusals</a>: {', '.join(refusals)}</p>" if refusals else "")
    )


def _bodies(operation: dict[str, Any]) -> str:
    kinds = operation.get("requestBody", {}).get("content", {})
    told = [
        f"<code>{escape(kind)}</code>{' ' if _links_of(body) else ''}{_links_of(body)}" for kind, body in kinds.items()
    ]
    return f"<p>Body: {', '.join(told)}</p>" if told else ""


def _refusals(described: dict[str, Any]) -> str:
    meanings = {
        status: response["description"]
        for _, _, operation in _operations(described)
        for status, response in operation["responses"].items()
        if int(status) >= _FIRST_REFUSAL
    }
    rows = [(status, *map(escape, meanings[status].split(": ", 1))) for status in sorted(meanings)]
    return (
        "<h2 id='refusals'>Refusals</h2><p>Each says what happened and what was expected, with a stable code: "
        'as <code>{"error": {"code", "message"}}</code>, and below <code>/v2</code> in that protocol\'s form, '
        '<code>{"error": "message"}</code> with the code in the header <code>X-Error-Code</code>. Every answer has '
        "the request's id in <code>X-Request-ID</code>.</p>" + _table(rows, ("status", "", "codes"))
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        (
            f"<code>{escape(field)}</code>{'' if field in required else ' <span class=faint>optional</span>'}",
            _type(each),
            _prose(each.get("description", "")),
        )
        for field, each in schema["properties"].items()
    ]
    return f"<details id='{escape(name)}' open><summary>{escape(name)}</summary>{_table(rows)}</details>"


def _type(schema: dict[str, Any]) -> str:
    """A schema in few words."""
    if "$ref" in schema:
        return _link(schema["$ref"])
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if "properties" in schema:
        return f"{{{', '.join(schema['properties'])}}}"
    words = " or ".join(kind) if isinstance(kind, list) else kind
    return escape(f"{words} ({schema['format']})" if "format" in schema else words)


def _links(response: dict[str, Any]) -> str:
    return " or ".join(
        filter(None, [_links_of(body) or f"<code>{escape(kind)}</code>" for kind, body in response["content"].items()])
    )


def _links_of(body: dict[str, Any]) -> str:
    schema = body["schema"]
    return _type(schema) if "$ref" in schema or "anyOf" in schema else ""


def _link(reference: str) -> str:
    name = escape(reference.rpartition("/")[2])
    return f"<a href='#{name}'>{name}</a>"


def _operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]


def _anchor(path: str, method: str) -> str:
    return f"{method}{''.join(letter if letter.isalnum() else '-' for letter in path)}"


def _prose(text: str) -> str:
    """Words with code between backticks."""
    return re.sub(r"`(.+?)`", r"<code>\1</code>", escape(text, quote=False))


def _table(rows: Sequence[tuple[str, ...]], head: tuple[str, ...] = ()) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class='wide'><table>{f'<tr>{titles}</tr>' if head else ''}{lines}</table></div>"


def _page(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>{body}</html>"
    )

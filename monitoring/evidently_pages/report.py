"""A window beside its reference as Evidently draws and measures it: a page, a snapshot for its workspace, figures."""

import json
import math
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

# Before the imports below: the library would otherwise send usage events, and warn about its own imports.
os.environ["DO_NOT_TRACK"] = "1"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandas as pd
    from evidently import DataDefinition, Dataset, MulticlassClassification, Report
    from evidently.core.report import ReferenceMetricNotFound
    from evidently.legacy.utils import NumpyEncoder
    from evidently.metrics import Accuracy, F1Score, Precision, PrecisionByLabel, Recall, RecallByLabel, ValueDrift

    from monitoring.evidently_pages.widgets import Columns, Heading, OwnFigure, Quality, Subgroups

from monitoring.evidently_pages.figures import MOST_SUBGROUPS, Figure, own_figures, plain, subgroup_title
from monitoring.evidently_pages.heading import evidence_rows, heading
from monitoring.window_report import WindowFacts

# Explicit methods: the library's defaults change with the number of rows, and so do their false alarms.
NUMERIC_METHOD, CATEGORY_METHOD = "ks", "jensenshannon"
_NUMERIC_LIMIT, _CATEGORY_LIMIT = 0.001, 0.1

# Fewer labelled rows than this would draw chance.
LEAST_LABELLED = 20
MOST_COLUMNS = 40  # of each kind: a plot each takes time and room
_MOST_CATEGORIES = 20
_MOST_CLASSES = 20
_DIGITS = 5

PREDICTED, LABEL, OTHERS = "predicted class", "label", "(others)"

_Parts = dict[str, list[Any]]


@dataclass(frozen=True)
class Drawn:
    """The page as HTML, the snapshot as a workspace keeps it, and what Evidently computed."""

    html: bytes
    snapshot: str
    figures: Mapping[str, Any]


def draw_report(request: Mapping[str, Any], facts: WindowFacts) -> Drawn:
    """
    The page of one window.

    request: `reference` and `window` (columns as lists), `numeric` and `category` (names of the columns to be
        compared), `subgroups` (column to the name under which its values stand among the columns).

    Raises:
        ValueError: nothing differs from a constant, or nothing of it can be computed.
    """
    numeric, category = list(request["numeric"])[:MOST_COLUMNS], list(request["category"])[:MOST_COLUMNS]
    if not numeric and not category:
        raise ValueError("no column of the window differs from a constant, so there is nothing to draw")
    window, reference = _frames(request)
    metrics = [_drift(name, NUMERIC_METHOD) for name in numeric] + [_drift(name, CATEGORY_METHOD) for name in category]
    parts: _Parts = {"drift": metrics, "quality": _quality(window, reference)}
    subgroups = _subgroups(request, window, reference)
    failed: dict[str, str] = {}
    try:
        run = _run(parts, subgroups, window, reference, facts)
    # The library's own exception for a missing reference is none of the usual kind.
    except (Exception, ReferenceMetricNotFound):  # noqa: BLE001 - one that fails takes all with it: the rest goes on
        parts, failed = _computable(parts, window, reference)
        run = _run(parts, subgroups, window, reference, facts)
    computed = {"rows": [len(window), len(reference)], "labelled": int(window[LABEL].notna().sum()), **_figures(run)}
    html = run.get_html_str(as_iframe=False).encode()
    return Drawn(html, _snapshot(run), {**computed, "subgroups": subgroups, "failed": failed})


def _run(
    parts: _Parts,
    subgroups: Sequence[Mapping[str, Any]],
    window: pd.DataFrame,
    reference: pd.DataFrame,
    facts: WindowFacts,
) -> Any:
    own = [*own_figures(facts.summary), *_of_evidently(subgroups)]
    rows = {"window": len(window), "reference": len(reference)}
    top = Heading(
        title=plain(facts.title),
        text=heading(facts.summary, facts.action, facts.reasons, rows),
        evidence=evidence_rows(facts.summary),
    )
    shown: list[Any] = [top, *([Quality(metrics=parts["quality"])] if parts["quality"] else [])]
    shown += [Subgroups(rows=_subgroup_rows(subgroups))] if subgroups else []
    shown += [Columns(metrics=parts["drift"], distances=_distances(facts.summary))] if parts["drift"] else []
    shown += [OwnFigure(group=one.group, name=one.name) for one in own]
    numeric = [one.column for one in parts["drift"] if one.method == NUMERIC_METHOD]
    category = [one.column for one in parts["drift"] if one.method == CATEGORY_METHOD]
    return Report(shown).run(
        _dataset(window, numeric, category, own),
        _dataset(reference, numeric, category),
        # Evidently's own times have no zone.
        timestamp=facts.ended_at.astimezone(UTC).replace(tzinfo=None),
        metadata={"model_version": str(facts.model_version)},
        name=plain(facts.title),
    )


def _frames(request: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = dict.fromkeys([*request["numeric"], *request["category"], *request.get("subgroups", {}).values()])
    names |= dict.fromkeys([LABEL, PREDICTED])
    window, reference = (
        pd.DataFrame({name: request[side][name] for name in names}) for side in ("window", "reference")
    )
    numbers = dict.fromkeys(request["numeric"], "float64")
    for name in request["category"]:
        # A plot of a million values says nothing and weighs much: the commonest of both sides stand for themselves.
        known = pd.concat([window[name], reference[name]]).value_counts().index[:_MOST_CATEGORIES]
        for frame in (window, reference):
            frame[name] = frame[name].where(frame[name].isin(known), OTHERS)
    return window.astype(numbers), reference.astype(numbers)


def _dataset(
    frame: pd.DataFrame, numeric: Sequence[str], category: Sequence[str], own: Iterable[Figure] = ()
) -> Dataset:
    definition = DataDefinition(
        numerical_columns=list(numeric),
        categorical_columns=sorted({*category, LABEL, PREDICTED}),
        classification=[MulticlassClassification(target=LABEL, prediction_labels=PREDICTED)],
    )
    values = {OwnFigure(group=one.group, name=one.name).key: one.value for one in own}
    return Dataset.from_pandas(frame, data_definition=definition, metadata=values)


def _drift(name: str, method: str) -> ValueDrift:
    limit = _NUMERIC_LIMIT if method == NUMERIC_METHOD else _CATEGORY_LIMIT
    return ValueDrift(column=name, method=method, threshold=limit)


def _quality(window: pd.DataFrame, reference: pd.DataFrame) -> list[Any]:
    if min(int(frame[LABEL].notna().sum()) for frame in (window, reference)) < LEAST_LABELLED:
        return []
    return [Accuracy(), Precision(), Recall(), F1Score(), PrecisionByLabel(), RecallByLabel()]


def _computable(parts: _Parts, window: pd.DataFrame, reference: pd.DataFrame) -> tuple[_Parts, dict[str, str]]:
    """What the library can compute of these rows, each tried alone, and the reasons for the rest."""
    every = [one for metrics in parts.values() for one in metrics]
    complaints = {_name(one): _complaint(one, window, reference) for one in every}
    failed = {name: words for name, words in complaints.items() if words}
    left = {kind: [one for one in metrics if _name(one) not in failed] for kind, metrics in parts.items()}
    if not any(left.values()):
        raise ValueError(f"nothing could be computed: {'; '.join(f'{name}: {why}' for name, why in failed.items())}")
    return left, failed


def _complaint(metric: Any, window: pd.DataFrame, reference: pd.DataFrame) -> str:
    column = [metric.column] if isinstance(metric, ValueDrift) else []
    numeric, category = (column, []) if column and metric.method == NUMERIC_METHOD else ([], column)
    try:
        Report([metric]).run(_dataset(window, numeric, category), _dataset(reference, numeric, category))
    except (Exception, ReferenceMetricNotFound) as error:  # noqa: BLE001 - whatever it is, it is said and passed over
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def _name(metric: Any) -> str:
    return metric.column if isinstance(metric, ValueDrift) else type(metric).__name__


def _subgroups(request: Mapping[str, Any], window: pd.DataFrame, reference: pd.DataFrame) -> list[dict[str, Any]]:
    """
    A report of its own for each of the largest subgroups.

    The library's `GroupBy` gives every group the figures of the whole when they are of quality.
    """
    sizes = [
        (int(count), column, str(value), name)
        for column, name in request.get("subgroups", {}).items()
        for value, count in window[name].value_counts().items()
        if value != ""
    ]
    found = []
    for count, column, value, name in sorted(sizes, key=lambda one: -one[0])[:MOST_SUBGROUPS]:
        inside, before = window[window[name] == value], reference[reference[name] == value]
        labelled = inside[inside[LABEL].notna()]
        numeric = list(request["numeric"]) if min(len(inside), len(before)) >= LEAST_LABELLED else []
        entry: dict[str, Any] = {
            "column": column,
            "value": value,
            "rows": [count, len(before)],
            "labelled": len(labelled),
        }
        entry["quality"] = _measured([Accuracy(), Precision(), Recall(), F1Score()], labelled, None, [])["quality"]
        tested = _measured([_drift(each, NUMERIC_METHOD) for each in numeric], inside, before, numeric)["drift"]
        entry["drift"] = {each: test["value"] for each, test in tested.items()}
        found.append(entry)
    return found


def _measured(
    metrics: list[Any], window: pd.DataFrame, reference: pd.DataFrame | None, numeric: list[str]
) -> dict[str, Any]:
    """Figures alone; none where there are too few rows, or the library cannot."""
    nothing: dict[str, Any] = {"drift": {}, "quality": {}}
    if not metrics or len(window) < LEAST_LABELLED:
        return nothing
    beside = None if reference is None else _dataset(reference, numeric, [])
    try:
        return _figures(Report(metrics).run(_dataset(window, numeric, []), beside))
    except (Exception, ReferenceMetricNotFound):  # noqa: BLE001 - a subgroup that cannot be measured is left empty
        return nothing


def _of_evidently(subgroups: Sequence[Mapping[str, Any]]) -> list[Figure]:
    return [
        Figure(f"Evidently: {subgroup_title(one['column'], one['value'])}", name, value)
        for one in subgroups
        for name, value in one["quality"].items()
    ]


def _subgroup_rows(subgroups: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = []
    for one in subgroups:
        quality = [f"{one['quality'][name]:.3f}" if name in one["quality"] else "–" for name in Subgroups.QUALITY]
        drift = sorted((value, name) for name, value in one["drift"].items())
        least = f"{drift[0][1]} (p {drift[0][0]:.3g})" if drift else "–"
        title = subgroup_title(one["column"], one["value"])
        rows.append([title, str(one["rows"][0]), str(one["labelled"]), *quality, least])
    return rows


def _distances(summary: Mapping[str, Any]) -> dict[str, float]:
    """Our own distance of each column, by the column's name on the page."""
    found = {}
    for one in summary.get("signals", []):
        name = f"metadata: {one['name']}" if one.get("family") == "metadata" else one.get("name", "")
        found[name] = float(one.get("effect", 0.0))
    return found


def _figures(run: Any) -> dict[str, Any]:
    drift: dict[str, Any] = {}
    quality: dict[str, Any] = {}
    by_class: dict[str, Any] = {}
    for metric in run.dict()["metrics"]:
        config, value = metric["config"], metric["value"]
        name = metric["metric_name"].partition("(")[0]
        if config["type"].endswith("OwnFigure"):
            continue
        if isinstance(value, Mapping):
            first = list(value.items())[:_MOST_CLASSES]
            by_class[name] = {str(label): float(one) for label, one in first if math.isfinite(one)}
        elif math.isfinite(value):
            if "column" in config:
                drift[config["column"]] = {"method": config["method"], "value": float(value)}
            else:
                quality[name] = float(value)
    return {"drift": drift, "quality": quality, "by_class": by_class}


def _snapshot(run: Any) -> str:
    """As the workspace keeps it, without the second copy of every picture, and with no more digits than are drawn."""
    model = run.to_snapshot_model()
    for result in model.metric_results.values():
        result.widget = []
    document = json.loads(json.dumps(model.dict(), cls=NumpyEncoder))
    document["widgets"] = _short(document["widgets"])
    return json.dumps(document, separators=(",", ":"))


def _short(part: Any) -> Any:
    if isinstance(part, float):
        return float(f"{part:.{_DIGITS}g}") if math.isfinite(part) else None
    if isinstance(part, list):
        return [_short(one) for one in part]
    if isinstance(part, dict):
        return {name: _short(one) for name, one in part.items()}
    return part

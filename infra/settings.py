"""
The settings: `kedge.toml` plus environment variables, read once into frozen records.

`infra.settings_sections` declares every field with its default and a comment that carries its unit.
"""

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from infra.errors import UserError
from infra.settings_sections import (
    ConsoleSettings,
    DataSettings,
    GateSettings,
    LabelSettings,
    ModelSettings,
    MonitorSettings,
    NotifySettings,
    PrefectSettings,
    ProjectSettings,
    RetentionSettings,
    RolloutSettings,
    ServeSettings,
    StorageSettings,
    TrainSettings,
    TriggerSettings,
)
from infra.settings_values import nearest, parse_text, typed

FILE_NAME = "kedge.toml"
_PREFIX = "KEDGE_"


@dataclass(frozen=True)
class Settings:
    """All settings of one project; paths are absolute, and `storage` URLs are filled in."""

    root: Path
    project: ProjectSettings = ProjectSettings()
    storage: StorageSettings = StorageSettings()
    data: DataSettings = DataSettings()
    model: ModelSettings = dataclasses.field(default_factory=ModelSettings)
    train: TrainSettings = TrainSettings()
    serve: ServeSettings = ServeSettings()
    retention: RetentionSettings = RetentionSettings()
    monitor: MonitorSettings = MonitorSettings()
    labels: LabelSettings = LabelSettings()
    trigger: TriggerSettings = TriggerSettings()
    gate: GateSettings = GateSettings()
    rollout: RolloutSettings = RolloutSettings()
    prefect: PrefectSettings = PrefectSettings()
    console: ConsoleSettings = ConsoleSettings()
    notify: NotifySettings = NotifySettings()


SECTIONS: dict[str, type] = {
    "project": ProjectSettings, "storage": StorageSettings, "data": DataSettings, "model": ModelSettings,
    "train": TrainSettings, "serve": ServeSettings, "retention": RetentionSettings, "monitor": MonitorSettings,
    "labels": LabelSettings, "trigger": TriggerSettings, "gate": GateSettings,
    "rollout": RolloutSettings, "prefect": PrefectSettings, "console": ConsoleSettings, "notify": NotifySettings,
}  # fmt: skip


def load(root: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """
    Read `root/kedge.toml` (defaults where it is missing) and the `KEDGE_SECTION__FIELD` variables.

    Raises:
        UserError: names every mistake at once, with the nearest known name.
    """
    folder = (root or Path.cwd()).resolve()
    mistakes: list[str] = []
    values = _from_file(folder / FILE_NAME, mistakes)
    origins = _override(values, os.environ if environ is None else environ, mistakes)
    sections = {name: _section(name, values.get(name, {}), origins, mistakes) for name in SECTIONS}
    if mistakes:
        listed = "\n".join(f"  {mistake}" for mistake in mistakes)
        raise UserError(f"The settings in {folder / FILE_NAME} cannot be used:\n{listed}")
    return _complete(Settings(root=folder, **sections))


def default_toml() -> str:
    """A `kedge.toml` with every setting at its default and a comment with its unit."""
    lines = [
        "# Settings of this Kedge project. Every value below is the default.",
        "# An environment variable KEDGE_SECTION__FIELD overrides one, as in KEDGE_SERVE__PORT=8080.",
    ]
    for name, record in SECTIONS.items():
        lines += ["", f"[{name}]"]
        for field in dataclasses.fields(record):
            default = getattr(record(), field.name)
            choices = field.metadata["choices"]
            options = f" ({', '.join(choices)})" if choices else ""
            lines.append(f"{field.name} = {_toml(default)}  # {field.metadata['comment']}{options}")
    return "\n".join(lines) + "\n"


def _from_file(path: Path, mistakes: list[str]) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        # Some editors begin a file with a byte order mark, which TOML does not know.
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not valid TOML: {error}. Mend that place; `kedge init FOLDER` writes a valid file to compare."
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Expected a file of settings.") from error
    values: dict[str, dict[str, Any]] = {}
    for section, content in document.items():
        if section not in SECTIONS:
            mistakes.append(f"[{section}] is not a section{nearest(section, SECTIONS)}")
        elif not isinstance(content, dict):
            mistakes.append(f"{section} should be a section, [{section}]; found {content!r}")
        else:
            values[section] = dict(content)
    return values


def _override(
    values: dict[str, dict[str, Any]], environ: Mapping[str, str], mistakes: list[str]
) -> dict[tuple[str, str], str]:
    """Put the variables in place; gives back which setting came from which, for mistakes to name it."""
    origins = {}
    for variable, text in sorted(environ.items()):
        section, separator, name = variable.removeprefix(_PREFIX).lower().partition("__")
        if not variable.startswith(_PREFIX):
            continue
        if not separator:
            mistakes += _with_one_underscore(variable)
            continue
        if section not in SECTIONS:
            mistakes.append(f"{variable}: '{section}' is not a section{nearest(section, SECTIONS)}")
            continue
        known = {field.name: field for field in dataclasses.fields(SECTIONS[section])}
        values.setdefault(section, {})[name] = parse_text(text, known[name]) if name in known else text
        origins[section, name] = f"{variable}: "
    return origins


def _with_one_underscore(variable: str) -> list[str]:
    """A mistake where KEDGE_SERVE_PORT was written for KEDGE_SERVE__PORT; other variables may have other uses."""
    for section, record in SECTIONS.items():
        for field in dataclasses.fields(record):
            if variable == f"{_PREFIX}{section}_{field.name}".upper():
                meant = f"{_PREFIX}{section}__{field.name}".upper()
                return [f"{variable} is not a setting; did you mean {meant}?"]
    return []


def _section(
    section: str, values: Mapping[str, Any], origins: Mapping[tuple[str, str], str], mistakes: list[str]
) -> Any:
    record = SECTIONS[section]
    known = {field.name: field for field in dataclasses.fields(record)}
    accepted: dict[str, Any] = {}
    for name, value in values.items():
        origin = origins.get((section, name), "")
        if name not in known:
            mistakes.append(f"{origin}{section}.{name} is not a setting{nearest(name, known)}")
            continue
        try:
            accepted[name] = typed(value, known[name])
        except ValueError as error:
            mistakes.append(f"{origin}{section}.{name} {error}")
    return record(**accepted)


def _complete(settings: Settings) -> Settings:
    home = (settings.root / settings.storage.home).resolve()
    storage = dataclasses.replace(
        settings.storage,
        home=home,
        database=settings.storage.database or f"sqlite:///{home / 'kedge.db'}",
        objects=_objects_url(settings.storage.objects, settings.root, home),
    )
    data = dataclasses.replace(settings.data, manifest=(settings.root / settings.data.manifest).resolve())
    detectors = tuple(_detector(address, settings.root) for address in settings.monitor.detectors)
    monitor = dataclasses.replace(settings.monitor, detectors=detectors)
    return dataclasses.replace(settings, storage=storage, data=data, monitor=monitor)


def _detector(address: str, root: Path) -> str:
    where, colon, function = address.rpartition(":")
    return f"{(root / where).resolve()}{colon}{function}" if where.endswith(".py") else address


def _objects_url(text: str, root: Path, home: Path) -> str:
    if not text:
        return f"file://{quote(str(home / 'objects'))}"
    return text if urlsplit(text).scheme else f"file://{quote(str((root / text).resolve()))}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        return "{}"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

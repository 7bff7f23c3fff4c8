"""The page of a window: what it is to show, asked for by the watcher and drawn by a process of its own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa

from infra import schema
from infra.clock import new_id, now
from infra.database import reading, writing
from infra.objects import ObjectStore
from infra.settings import Settings
from models.prediction import Prediction
from monitoring.image_stats import NAMES
from monitoring.reference.profile import CATEGORY, NUMBER, ReferenceProfile
from monitoring.watching.batch import Batch, batch_of
from monitoring.windows import Window

_MOST_CLASSES = 20
# The summary has its own figures of each class, counted over every labelled row.
_NOT_SUMMARISED = {"by_class"}


@dataclass(frozen=True)
class WantedPage:
    """A page that somebody asked for; `columns_key` is where the object store has what it is to show."""

    id: str
    name: str
    window: int
    columns_key: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class WindowFacts:
    """What our own analysis has said about a window: its summary, and the newest verdict on it ("" = none yet)."""

    title: str
    ended_at: datetime
    model_version: int
    summary: Mapping[str, Any]
    action: str = ""
    reasons: tuple[str, ...] = ()


def ask_for_page(
    engine: sa.Engine,
    objects: ObjectStore,
    settings: Settings,
    window: Window,
    profile: ReferenceProfile,
    predictions: Sequence[Prediction],
    truths: Mapping[str, str],
) -> str:
    """
    Put down what the window's page is to show, for `monitoring.evidently_page` to draw; gives the key of its row.

    The columns go into the object store and a row of `reports` without a page says that one is wanted: the watcher
    never waits for a drawing, and a drawing that fails takes nobody with it.

    Args:
        engine: Where the row goes.
        objects: Where the columns go.
        settings: For the sample's size.
        window: A closed one.
        profile: The reference of the window's model version.
        predictions: The window's, in order.
        truths: Prediction id to label, where one has come in.
    """
    title = f"Window {window.sequence} of {window.name}:{window.model_version} beside its reference"
    most, subgroups = settings.monitor.report_images, settings.data.subgroups
    columns = report_columns(profile, predictions, truths, most, subgroups)
    key = f"reports/window-{window.name}-{window.sequence}.json"
    objects.put(key, json.dumps({"title": title, **columns}).encode())
    identifier = new_id()
    facts = {"name": window.name, "window": window.sequence, "model_version": window.model_version, "wanted": key}
    row = {"id": identifier, "kind": "window", "at": now(), "title": title, "object_key": "", "facts": facts}
    with writing(engine) as connection:
        connection.execute(schema.reports.insert().values(**row))
    return identifier


def wanted_pages(engine: sa.Engine) -> tuple[WantedPage, ...]:
    """Pages that were asked for and neither drawn nor given up, newest first: the newest is what people look for."""
    table = schema.reports
    query = sa.select(table).where(table.c.kind == "window", table.c.object_key == "").order_by(table.c.id.desc())
    with reading(engine) as connection:
        rows = connection.execute(query).mappings().all()
    return tuple(
        WantedPage(row["id"], row["facts"]["name"], row["facts"]["window"], row["facts"]["wanted"], row["facts"])
        for row in rows
        if "error" not in row["facts"]
    )


def facts_of(engine: sa.Engine, page: WantedPage) -> WindowFacts:
    """
    What is known about the page's window by now.

    Raises:
        ValueError: the window is no longer kept.
    """
    windows, verdicts = schema.windows, schema.verdicts
    with reading(engine) as connection:
        mine = (windows.c.name == page.name) & (windows.c.sequence == page.window)
        row = connection.execute(sa.select(windows).where(mine)).mappings().first()
        if row is None:
            raise ValueError(f"window {page.window} of {page.name} is no longer kept")
        seen = (verdicts.c.name == page.name) & (verdicts.c.window_sequence == page.window)
        newest = sa.select(verdicts).where(seen).order_by(verdicts.c.sequence.desc()).limit(1)
        verdict = connection.execute(newest).mappings().first()
    return WindowFacts(
        title=f"Window {page.window} of {page.name}:{row['model_version']} beside its reference",
        ended_at=row["ended_at"],
        model_version=row["model_version"],
        summary=row["summary"] if isinstance(row["summary"], Mapping) else {},
        action="" if verdict is None else verdict["action"],
        reasons=() if verdict is None else tuple(verdict["reasons"]),
    )


def note_page(engine: sa.Engine, page: WantedPage, key: str, facts: Mapping[str, Any]) -> bool:
    """
    Say that a page is drawn (its key), or given up (no key, and an `error` among the facts).

    The figures among the facts go into the window's summary, too. False where nobody wants the page any more.
    """
    windows, reports = schema.windows, schema.reports
    with writing(engine) as connection:
        wanted = connection.execute(
            reports.update()
            .where(reports.c.id == page.id)
            .values(object_key=key, facts={**page.facts, **facts}, at=now())
        ).rowcount
        if not wanted or not key:
            return bool(wanted)
        mine = (windows.c.name == page.name) & (windows.c.sequence == page.window)
        summary = connection.execute(sa.select(windows.c.summary).where(mine)).scalar()
        values: dict[str, Any] = {"report_key": key}
        if isinstance(summary, Mapping) and "figures" in facts:
            kept = {part: figure for part, figure in facts["figures"].items() if part not in _NOT_SUMMARISED}
            values["summary"] = {**summary, "evidently": kept}
        connection.execute(windows.update().where(mine).values(**values))
    return True


def report_columns(
    profile: ReferenceProfile,
    predictions: Sequence[Prediction],
    truths: Mapping[str, str],
    most: int,
    subgroups: Sequence[str] = (),
) -> dict[str, Any]:
    """
    Both sides as columns of plain JSON, an evenly spread part of at most `most` rows each.

    Columns that are empty, constant on both sides, or identifiers are left out: there is nothing to draw. Those of
    `subgroups` are there in any case, each under a name of its own, since a report is drawn for each of their values.
    """
    taken = [predictions[place] for place in _spread(len(predictions), most)]
    window = batch_of(taken, len(profile.classes), profile.embedding_size)
    # A label that names no class of the model can be kept, but not drawn beside its answers.
    known = [label if (label := truths.get(row.id)) in profile.classes else None for row in taken]
    places = _spread(len(profile.plain), most)
    sides = {
        "reference": _side(profile, profile.plain, places, [profile.truth[place] for place in places]),
        "window": _side(profile, window, list(range(len(window))), known),
    }
    numeric = [name for name in sides["window"]["numeric"] if _is_drawable(sides, "numeric", name)]
    category = [name for name in sides["window"]["category"] if _is_drawable(sides, "category", name)]
    sides["reference"]["group"] = _groups([profile.plain.metadata[place] for place in places], subgroups)
    sides["window"]["group"] = _groups(window.metadata, subgroups)
    return {
        **{side: {**columns["numeric"], **columns["category"], **columns["group"], "label": columns["label"]}
           for side, columns in sides.items()},
        "subgroups": {column: f"subgroup: {column}" for column in subgroups},
        "numeric": numeric,
        "category": category,
        "classes": list(profile.classes),
    }  # fmt: skip


def _side(
    profile: ReferenceProfile, batch: Batch, places: Sequence[int], truth: Sequence[str | None]
) -> dict[str, Any]:
    numeric = {name: batch.statistics[places, index] for index, name in enumerate(NAMES)}
    numeric |= {"confidence": batch.confidence[places], "entropy": batch.entropy[places]}
    for index, label in enumerate(profile.classes[:_MOST_CLASSES]):
        numeric[f"probability of {label}"] = batch.probabilities[places, index]
    category = {"predicted class": [batch.labels[place] for place in places]}
    for name, column in profile.columns.items():
        values = [batch.metadata[place].get(name, "") for place in places]
        if column.kind == CATEGORY:
            category[f"metadata: {name}"] = [value or "(missing)" for value in values]
        elif column.kind == NUMBER:
            numeric[f"metadata: {name}"] = np.array([_number(value) for value in values])
    plain = {name: [float(value) if np.isfinite(value) else None for value in column]
             for name, column in numeric.items()}  # fmt: skip
    return {"numeric": plain, "category": category, "label": list(truth)}


def _groups(metadata: Sequence[Mapping[str, str]], subgroups: Sequence[str]) -> dict[str, list[str]]:
    return {f"subgroup: {column}": [row.get(column, "") for row in metadata] for column in subgroups}


def _is_drawable(sides: Mapping[str, Any], kind: str, name: str) -> bool:
    both = [[value for value in sides[side][kind].get(name, []) if value is not None] for side in sides]
    return all(both) and len(set(both[0]) | set(both[1])) > 1


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _spread(count: int, most: int) -> list[int]:
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(count, most)).round())] if count else []

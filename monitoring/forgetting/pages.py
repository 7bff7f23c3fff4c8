"""What the watcher keeps of single predictions and images: labels that wait, pages of windows, reference rows."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

import numpy as np
import sqlalchemy as sa

from infra import schema
from infra.database import reading, writing
from infra.objects import ObjectMissing, ObjectStore
from monitoring.reference.profile import ReferenceProfile, profile_key
from monitoring.watching.batch import Batch


def drop_waiting_labels(engine: sa.Engine, name: str, identifier: str) -> int:
    """
    Take the id's labels out of those that wait for their prediction, and say how many there were.

    The state's sequence moves on, so that a watcher who is looking now and still has them writes nothing.
    """
    table = schema.watch_states
    with writing(engine) as connection:
        row = connection.execute(sa.select(table.c.state, table.c.sequence).where(table.c.name == name)).first()
        if row is None:
            return 0
        waiting = row.state["waiting"]
        left = [label for label in waiting if label["id"] != identifier]
        if len(left) < len(waiting):
            state = {**row.state, "waiting": left}
            connection.execute(
                table.update().where(table.c.name == name).values(state=state, sequence=row.sequence + 1)
            )
        return len(waiting) - len(left)


def drop_contributor(engine: sa.Engine, name: str, identifier: str) -> int:
    """
    Take the id from those that windows' summaries name as strange, and say in how many it stood.

    Windows are searched by the id, for a prediction whose clock was wrong lies outside of its window's times. The
    watcher's state moves on: a look that is under way and still has the prediction writes nothing.
    """
    table, states, changed = schema.windows, schema.watch_states, 0
    holds = sa.cast(table.c.summary, sa.Text).contains(identifier, autoescape=True)
    with writing(engine) as connection:
        rows = connection.execute(sa.select(table.c.sequence, table.c.summary).where(table.c.name == name, holds)).all()
        for row in rows:
            named = row.summary.get("contributors") or {}
            left = {signal: [one for one in ids if one != identifier] for signal, ids in named.items()}
            if left != named:
                mine = (table.c.name == name) & (table.c.sequence == row.sequence)
                connection.execute(table.update().where(mine).values(summary={**row.summary, "contributors": left}))
                changed += 1
        connection.execute(states.update().where(states.c.name == name).values(sequence=states.c.sequence + 1))
    return changed


def drop_window_pages(
    engine: sa.Engine, objects: ObjectStore, name: str, predictions: Iterable[tuple[datetime, int]]
) -> list[int]:
    """
    Delete the pages of the windows that these predictions (time, model version) lie in, drawn or wanted.

    A page draws every prediction of its window, by values and without ids; a rare value may still say who it was.
    Gives the numbers of the windows that had one.
    """
    windows, reports = schema.windows, schema.reports
    with reading(engine) as connection:
        numbers = _windows_of(connection, name, predictions)
        pages = connection.execute(sa.select(reports).where(reports.c.kind == "window")).mappings().all()
    gone = [page for page in pages if page["facts"].get("name") == name and page["facts"].get("window") in numbers]
    for page in gone:
        for key in (page["object_key"], page["facts"].get("wanted")):
            if key:
                objects.delete(key)
    with writing(engine) as connection:
        connection.execute(reports.delete().where(reports.c.id.in_([page["id"] for page in gone])))
        mine = (windows.c.name == name) & windows.c.sequence.in_(numbers)
        connection.execute(windows.update().where(mine).values(report_key=None))
    return [int(page["facts"]["window"]) for page in gone]


def _windows_of(connection: sa.Connection, name: str, predictions: Iterable[tuple[datetime, int]]) -> list[int]:
    table = schema.windows
    within = [
        (table.c.started_at <= at) & (table.c.ended_at >= at) & (table.c.model_version == version)
        for at, version in predictions
    ]
    query = sa.select(table.c.sequence).where(table.c.name == name, sa.or_(sa.false(), *within))
    return sorted(connection.execute(query).scalars())


def drop_reference_image(
    engine: sa.Engine, objects: ObjectStore, name: str, version: int, place: int, images: int
) -> bool:
    """
    Take one image's rows out of a version's reference profile; whether they could be told apart.

    Args:
        engine: Where the profile's row lies.
        objects: Where its bytes lie.
        name: Of the model.
        version: Of the model.
        place: The image's place among the *select* images, from 0.
        images: How many *select* images there were; a profile of fewer or more is of others, or already without it.
    """
    # Of the training, not of a normal that a person accepted later: that one is made of other images.
    key = profile_key(name, version)
    try:
        profile = ReferenceProfile.from_bytes(objects.get(key))
    except ObjectMissing:
        return False
    if profile.images != images or images == 1:
        return False
    # Every image is scored in rounds, each time distorted afresh: its rows lie one round apart.
    stays = np.arange(len(profile.batch)) % images != place
    batch = profile.batch
    chosen = np.flatnonzero(stays).tolist()
    left = Batch(
        batch.statistics[stays],
        batch.probabilities[stays],
        batch.embedding[stays],
        tuple(batch.labels[row] for row in chosen),
        tuple(batch.metadata[row] for row in chosen),
    )
    truth = tuple(profile.truth[row] for row in chosen)
    unseen = None if profile.unseen is None else np.delete(profile.unseen, place)
    smaller = replace(
        profile, images=images - 1, batch=left, truth=truth, distances=profile.distances[stays], unseen=unseen
    )
    objects.put(key, smaller.to_bytes())
    table = schema.profiles
    mine = (table.c.name == name) & (table.c.version == version) & (table.c.object_key == key)
    with writing(engine) as connection:
        connection.execute(table.update().where(mine).values(images=smaller.images))
    return True

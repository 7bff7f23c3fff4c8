"""Forgetting what an accepted normal holds of single predictions: beside each such profile lie the ids of its rows."""

import json
from dataclasses import replace

import numpy as np
import sqlalchemy as sa

from infra import schema
from infra.database import writing
from infra.objects import ObjectMissing, ObjectStore
from monitoring.reference.profile import ReferenceProfile


def rows_key(profile_key: str) -> str:
    """Where the ids of a profile's rows lie, in their order."""
    return profile_key.removesuffix(".npz") + ".rows.json"


def forget_in_normals(engine: sa.Engine, objects: ObjectStore, name: str, identifier: str) -> int:
    """
    Take a prediction out of every profile that a person has accepted as normal, and say of how many.

    Centres and limits stay: they are figures of hundreds of pictures, and of none alone.
    """
    changed = 0
    for key in list(objects.list(f"models/{name}/")):
        if not key.endswith(".rows.json"):
            continue
        profile_key = key.removesuffix(".rows.json") + ".npz"
        try:
            ids = json.loads(objects.get(key))
            profile = ReferenceProfile.from_bytes(objects.get(profile_key))
        except ObjectMissing:
            continue
        if identifier in ids and len(ids) == len(profile.batch):
            _take_out(engine, objects, profile_key, profile, ids, ids.index(identifier))
            changed += 1
    return changed


def _take_out(
    engine: sa.Engine, objects: ObjectStore, key: str, profile: ReferenceProfile, ids: list[str], place: int
) -> None:
    stays = np.delete(np.arange(len(ids)), place)
    smaller = replace(
        profile,
        images=len(stays),
        batch=profile.batch.take(stays),
        truth=tuple(profile.truth[row] for row in stays),
        distances=profile.distances[stays],
        unseen=None if profile.unseen is None else profile.unseen[stays],
    )
    objects.put(key, smaller.to_bytes())
    objects.put(rows_key(key), json.dumps([ids[row] for row in stays]).encode())
    table = schema.profiles
    with writing(engine) as connection:
        connection.execute(table.update().where(table.c.object_key == key).values(images=len(stays)))

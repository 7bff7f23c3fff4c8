"""The table of blocks: read back oldest first, and written together with the watcher's state."""

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from infra import schema
from infra.database import reading
from infra.objects import ObjectMissing, ObjectStore
from monitoring.blocks.cutting import Block
from monitoring.blocks.sample import BlockSample, samples_of
from monitoring.reference.profile import ReferenceProfile


@dataclass(frozen=True)
class BlockChanges:
    """
    What a look changes about the blocks.

    Attributes:
        written: New, or in place of those with the same number.
        gone: Numbers of those that were merged into others.
        dropped: Keys of samples that nothing names any more; deleted after the rows are written.
    """

    written: tuple[Block, ...] = ()
    gone: tuple[int, ...] = ()
    dropped: tuple[str, ...] = ()


def load_blocks(engine: sa.Engine, name: str) -> list[Block]:
    """Every block of the model, oldest first."""
    table = schema.blocks
    query = sa.select(table).where(table.c.name == name).order_by(table.c.number)
    with reading(engine) as connection:
        return [Block.from_row(dict(row)) for row in connection.execute(query).mappings()]


def write_blocks(connection: sa.Connection, name: str, changes: BlockChanges) -> None:
    """Write the changes inside a caller's transaction; `drop_samples` follows once it has been committed."""
    table = schema.blocks
    numbers = [*changes.gone, *(block.number for block in changes.written)]
    if numbers:
        connection.execute(table.delete().where(table.c.name == name, table.c.number.in_(numbers)))
    for block in changes.written:
        connection.execute(table.insert().values(name=name, **block.row()))


def drop_samples(objects: ObjectStore, keys: Collection[str]) -> None:
    """Delete samples; one that is gone already is no matter."""
    for key in keys:
        objects.delete(key)


def forget_in_blocks(objects: ObjectStore, name: str, identifier: str) -> int:
    """
    Take a prediction out of every sample of a block, and say of how many.

    Samples that no row names are among them: a look that was killed may have left some. The blocks' distances stay:
    they are figures of a thousand predictions, and of none alone.
    """
    changed = 0
    for key in list(objects.list(samples_of(name))):
        try:
            sample = BlockSample.from_bytes(objects.get(key))
        except ObjectMissing:
            continue
        if identifier in sample.ids:
            objects.put(key, sample.without(identifier).to_bytes())
            changed += 1
    return changed


def load_origin(engine: sa.Engine, objects: ObjectStore, name: str, version: int) -> ReferenceProfile | None:
    """What the first training's images look like to this version; None where that is not kept."""
    table = schema.profiles
    query = sa.select(table.c.origin_key).where(table.c.name == name, table.c.version == version)
    with reading(engine) as connection:
        key = connection.execute(query).scalar()
    if not key:
        return None
    try:
        return ReferenceProfile.from_bytes(objects.get(key))
    except ObjectMissing:
        return None

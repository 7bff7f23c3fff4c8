"""Secrets that a project draws once and keeps for ever, as rows."""

from collections.abc import Callable

import sqlalchemy as sa

from infra import schema
from infra.database import reading, writing


def secret_key(engine: sa.Engine, name: str, draw: Callable[[], bytes]) -> bytes:
    """The secret of that name; the first who asks draws it, and of two at once one draws for both."""
    table = schema.keys
    query = sa.select(table.c.value).where(table.c.name == name)
    with reading(engine) as connection:
        found = connection.execute(query).scalar()
    if found is None:
        with writing(engine) as connection:
            found = connection.execute(query).scalar()
            if found is None:
                found = draw().hex()
                connection.execute(table.insert().values(name=name, value=found))
    return bytes.fromhex(found)

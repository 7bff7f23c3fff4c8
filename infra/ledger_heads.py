"""
The ledger's heads, kept outside the database: what a chain alone cannot show, that its end was cut off.

An export names every stream's newest row. Exports are numbered and each names the hash of the one before, so that none
can be left out. They lie in the object store under ledger/heads/ and are never written over: the first of a day as
DATE.json, later ones as DATE.NUMBER.json, each beside the same in sentences (.txt).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading, writing
from infra.errors import UserError
from infra.ledger import StreamHead, append_within, heads_within
from infra.objects import ObjectStore

FOLDER = "ledger/heads/"
STREAM = "heads"  # of the ledger
EXPORTED = "exported"


@dataclass(frozen=True)
class HeadsExport:
    """
    One export.

    Attributes:
        number: Counts from 1.
        previous: SHA-256, in hex, of the document before; "" for the first.
        begins_anew: Why the ledger need not fit earlier exports, as after a backup was put back; "" as a rule.
        sha256: Of this document.
    """

    number: int
    at: datetime
    project: str
    streams: tuple[StreamHead, ...]
    previous: str
    begins_anew: str
    key: str
    sha256: str

    @property
    def title(self) -> str:
        """The export as people name it."""
        return f"export {self.number} of {self.at:%Y-%m-%d}"

    @property
    def rows(self) -> int:
        """Rows of all streams together."""
        return sum(head.rows for head in self.streams)

    def words(self) -> str:
        """The same to read, or to print and put away."""
        lines = [f"The ledger of {self.project}, {self.title}, {self.at:%H:%M:%S} UTC: {self.rows} rows.", ""]
        lines += [f"{head.stream}: {head.rows} rows, the newest is {head.hash}" for head in self.streams]
        lines += ["", f"The export before it is {self.previous or 'none, this is the first'}."]
        if self.begins_anew:
            lines.append(f"It begins anew: {self.begins_anew}")
        return "\n".join([*lines, f"This export is {self.sha256} ({self.key}).", ""])


def write_export(
    engine: sa.Engine, objects: ObjectStore, project: str, *, actor: str = "kedge", begins_anew: str = ""
) -> HeadsExport:
    """
    Export every stream's head: a ledger row that holds the document, then the document into the object store.

    Killed between the two, the next export writes what is missing in the store from its row. That the ledger fits
    the exports before is for the caller to see first: `infra.ledger_check`.
    """
    stored = exports(objects)
    with writing(engine) as connection:
        written = _written(connection)
        before = max((*stored[-1:], *written[-1:]), key=lambda one: one.number, default=None)
        document = _document(project, heads_within(connection), before, begins_anew)
        made = read_export(_key(document, before), _encoded(document))
        facts = {"number": made.number, "key": made.key, "sha256": made.sha256, "document": document}
        append_within(connection, STREAM, EXPORTED, facts, actor)
    newest = stored[-1].number if stored else 0
    for one in (*(each for each in written if each.number > newest), made):
        objects.put(one.key, encoded(one))
        objects.put(f"{one.key.removesuffix('.json')}.txt", one.words().encode())
    return made


def exports(objects: ObjectStore) -> tuple[HeadsExport, ...]:
    """Every export in the store, by its number."""
    keys = [key for key in objects.list(FOLDER) if key.endswith(".json")]
    return tuple(sorted((read_export(key, objects.get(key)) for key in keys), key=lambda one: one.number))


def exports_noted(engine: sa.Engine) -> tuple[HeadsExport, ...]:
    """Every export that the ledger says was made, oldest first."""
    with reading(engine) as connection:
        return _written(connection)


def read_export(key: str, data: bytes) -> HeadsExport:
    """
    One export from its bytes; key: where they lie, for the messages.

    Raises:
        UserError: they are not an export.
    """
    try:
        document = json.loads(data)
        return HeadsExport(
            number=int(document["number"]),
            at=datetime.fromisoformat(document["at"]),
            project=str(document["project"]),
            streams=tuple(StreamHead(**head) for head in document["streams"]),
            previous=str(document["previous"]),
            begins_anew=str(document["begins_anew"]),
            key=key,
            sha256=hashlib.sha256(data).hexdigest(),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{key} is no export of the ledger's heads: {error!r}. Expected a file that `kedge ledger export` wrote; "
            "put the true one back, for the exports after it name its hash."
        ) from error


def encoded(export: HeadsExport) -> bytes:
    """The document, as it lies in the object store."""
    return _encoded(_plain(export))


def _document(
    project: str, heads: tuple[StreamHead, ...], before: HeadsExport | None, begins_anew: str
) -> dict[str, Any]:
    return {
        "number": 1 if before is None else before.number + 1,
        "at": now().isoformat(),
        "project": project,
        "streams": [asdict(head) for head in heads],
        "previous": "" if before is None else before.sha256,
        "begins_anew": begins_anew,
    }


def _key(document: Mapping[str, Any], before: HeadsExport | None) -> str:
    day = str(document["at"])[:10]
    first_of_day = before is None or f"{before.at:%Y-%m-%d}" < day
    return f"{FOLDER}{day}.json" if first_of_day else f"{FOLDER}{day}.{document['number']}.json"


def _written(connection: sa.Connection) -> tuple[HeadsExport, ...]:
    table = schema.ledger
    query = (
        sa.select(table.c.facts).where(table.c.stream == STREAM, table.c.kind == EXPORTED).order_by(table.c.sequence)
    )
    found = connection.execute(query).scalars().all()
    return tuple(read_export(facts["key"], _encoded(facts["document"])) for facts in found)


def _plain(export: HeadsExport) -> dict[str, Any]:
    kept = asdict(export)
    return {**{name: kept[name] for name in ("number", "project", "previous", "begins_anew")},
            "at": export.at.isoformat(), "streams": [asdict(head) for head in export.streams]}  # fmt: skip


def _encoded(document: Mapping[str, Any]) -> bytes:
    # In one order: the same document is the same bytes, and has the same hash.
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()

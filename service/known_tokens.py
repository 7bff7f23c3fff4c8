"""The tokens that a worker knows: looked up every half second, and kept in a file for when the database is away."""

import json
import logging
import os
import tempfile
import threading
from pathlib import Path

import sqlalchemy as sa

from infra.database import open_database
from infra.settings import Settings
from infra.tokens import KnownToken, TokenBook, token_book

logger = logging.getLogger(__name__)

_POLL_S = 0.5
_RETRY_S = 1.0
# Without a copy nothing could be served before the first look anyway.
_MOST_WAIT_S, _MOST_WAIT_WITH_COPY_S = 10.0, 2.0


class KnownTokens:
    """
    Follows the table of tokens, on a thread of its own.

    While the database is away, also when a worker starts, the last book stands: living tokens stay living, nobody
    new is let in, and a revocation is seen when the database is back.

    Attributes:
        book: None while it is not known: the database was not reached yet, and no worker left a copy.
    """

    def __init__(self, settings: Settings) -> None:
        self._database, self._copy = settings.storage.database, copy_of_tokens(settings)
        self.book: TokenBook | None = read_copy(self._copy)
        self._engine: sa.Engine | None = None
        self._away = False
        self._looked, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="known-tokens", daemon=True)

    def start(self) -> None:
        """Begin to follow the table; returns after the first look, or when that takes too long."""
        self._thread.start()
        # A token that was revoked while nobody served must not open the door to the first request.
        self._looked.wait(_MOST_WAIT_S if self.book is None else _MOST_WAIT_WITH_COPY_S)

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        if self._engine is not None:
            self._engine.dispose()

    def look(self) -> None:
        """One look at the table, and a copy of what is new."""
        try:
            if self._engine is None:
                self._engine = open_database(self._database)
            seen = token_book(self._engine)
        except Exception as error:  # noqa: BLE001 - whatever the database suffers from, the door stays as it is
            if not self._away:
                stands = "the tokens known so far stand" if self.book else "nobody is let in but by serve.token"
                logger.warning("the database is away, %s: %s", stands, error)
            self._away = True
            return
        if self.book is not None and self.book.any_ever and not seen.any_ever:
            # The database was replaced by an empty one: nobody's token lives there, but that opens no door.
            seen = TokenBook((), any_ever=True)
        self._away, self.book = False, seen
        # Held against the file, not against what was seen last: another worker may have written an older one.
        if read_copy(self._copy) != seen:
            write_copy(self._copy, seen)

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception:
                logger.exception("the copy of the tokens in %s could not be written", self._copy)
            self._looked.set()
            # Opening a database that is away is dear; asking one that was open is not.
            self._stop.wait(_POLL_S if self._engine is not None else _RETRY_S)


def copy_of_tokens(settings: Settings) -> Path:
    """Where the workers of a project keep their copy; no project can be called like the folder."""
    return settings.storage.home / "serving" / "_access" / "tokens.json"


def read_copy(path: Path) -> TokenBook | None:
    """The copy; None where there is none, or none that can be read."""
    try:
        facts = json.loads(path.read_text())
        living = tuple(KnownToken(each["id"], each["role"], bytes.fromhex(each["sha256"])) for each in facts["living"])
        return TokenBook(living, any_ever=bool(facts["any_ever"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_copy(path: Path, book: TokenBook) -> None:
    """Replace the copy as a whole, readable by its owner alone."""
    living = [{"id": each.id, "role": each.role, "sha256": each.sha256.hex()} for each in book.living]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Made for the owner alone from its first byte on; a mode that is set afterwards comes too late.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".tokens-", delete=False) as draft:
        try:
            json.dump({"any_ever": book.any_ever, "living": living}, draft)
            draft.flush()
            os.fsync(draft.fileno())
            Path(draft.name).replace(path)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise

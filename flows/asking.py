"""Images from files, folders and standard input, asked of the service; each with what came of it."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from infra.errors import UserError
from infra.settings import load

STDIN = "-"
# As models.examples has them, which would load what a question does not need.
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not listened on
_HINTS = {
    401: "Set KEDGE_TOKEN or give --token; `kedge token create NAME --role {role}` makes one.",
    403: "This needs a token with the role {role}; `kedge token create NAME --role {role}` makes one.",
}


class Service(Protocol):
    """What is needed of `service.client.Client`, which only the composition root may name."""

    def predict_many(
        self, images: Iterable[bytes], metadata: Mapping[str, str] | None, ids: Sequence[str] | None
    ) -> Iterator[Any]: ...
    def feedback(self, labels: Sequence[Any]) -> Sequence[Mapping[str, str]]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


# From an address, a token, and the seconds that a request may be tried again; nothing is asked yet.
OpenService = Callable[[str, str, float], Service]


@dataclass(frozen=True)
class Address:
    """Where the service is, and the token to show there; empty for none."""

    url: str
    token: str


@dataclass(frozen=True)
class Row:
    """
    One image and what came of it.

    Attributes:
        id: of the prediction, to give feedback with; empty where nothing was asked.
        code: of the error, stable; empty where there is an answer, and then so is `message`.
    """

    file: str
    id: str = ""
    model: str = ""
    label: str = ""
    confidence: float = 0.0
    probabilities: Mapping[str, float] | None = None
    code: str = ""
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        if self.code:
            return {"file": self.file, "error": {"code": self.code, "message": self.message}}
        names = ("file", "id", "model", "label", "confidence", "probabilities")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Correction:
    """What the answer with this id should have been."""

    id: str
    label: str
    labelled_by: str = ""


def address(url: str | None, token: str | None) -> Address:
    """
    Where to ask: what is given, else the project in this folder, else this machine's usual port.

    Raises:
        UserError: nothing is given, and the settings here have mistakes.
    """
    if url:
        return Address(url, token or "")
    serve = load().serve
    host = "127.0.0.1" if serve.host in _EVERYWHERE else serve.host
    shown = f"[{host}]" if ":" in host else host
    return Address(f"http://{shown}:{serve.port}", token or serve.token)


def image_files(given: Sequence[str]) -> list[str]:
    """
    The files to ask about, in the order given; those of a folder sorted, also from folders within.

    Raises:
        UserError: a folder holds no image; a file that is not there is found out when its turn comes.
    """
    files: list[str] = []
    for name in given:
        path = Path(name)
        if name == STDIN or not path.is_dir():
            files.append(name)
            continue
        found = sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())
        if not found:
            raise UserError(f"{path} holds no image; looked for files ending in {', '.join(sorted(_SUFFIXES))}.")
        files += found
    if files.count(STDIN) > 1:
        raise UserError("Standard input is one image; give '-' once.")
    return files


def ask(service: Service, files: Sequence[str], metadata: Mapping[str, str], identifier: str | None) -> Iterator[Row]:
    """
    One row for each file, in their order, as the answers come.

    Raises:
        UserError: the service did not answer at all; rows that were given out before stand.
    """
    read: deque[str | Row] = deque()

    def images() -> Iterator[bytes]:
        for file in files:
            try:
                image = _bytes_of(file)
            except OSError as error:
                read.append(Row(file, code="unreadable_file", message=error.strerror or str(error)))
                continue
            read.append(file)
            yield image

    ids = None if identifier is None else [identifier]
    with helped("predict"):
        for outcome in service.predict_many(images(), metadata, ids):
            yield from _unread(read)
            yield _row(str(read.popleft()), outcome)
    yield from _unread(read)


@contextmanager
def helped(role: str) -> Iterator[None]:
    """Say what to do where the service refuses for want of a token with `role`."""
    try:
        yield
    except UserError as error:
        hint = _HINTS.get(getattr(error, "status", 0))
        if hint is None:
            raise
        raise UserError(f"{error}. {hint.format(role=role)}") from error


def _bytes_of(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()


def _unread(read: deque[str | Row]) -> Iterator[Row]:
    """The files that could not be read before the one whose answer has come."""
    while read and isinstance(row := read[0], Row):
        read.popleft()
        yield row


def _row(file: str, outcome: Any) -> Row:
    code = getattr(outcome, "code", "")
    if code:
        return Row(file, outcome.id, code=code, message=outcome.message)
    return Row(file, outcome.id, outcome.model, outcome.label, outcome.confidence, dict(outcome.probabilities))

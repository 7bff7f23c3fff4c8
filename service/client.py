"""A small client: sends images, gives answers as records, and comes back politely when told to."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from infra.clock import new_id
from infra.errors import UserError

_FIRST_WAIT_S = 0.25
_MOST_WAIT_S = 5.0


class ServiceRefused(UserError):
    """
    The service answered, but with an error.

    Attributes:
        status: of HTTP.
        code: stable; "no_code" where the answer was not the service's own.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{message} ({status} {code})")
        self.status, self.code, self.message = status, code, message


class ServiceAway(UserError):
    """Nobody answers at the address."""


@dataclass(frozen=True)
class ClientAnswer:
    """
    What the service says about one image.

    Attributes:
        model: name and version that answered, as "name:version".
        probabilities: by class, summing to 1.
    """

    id: str
    model: str
    label: str
    confidence: float
    probabilities: Mapping[str, float]

    @property
    def version(self) -> int:
        """The version that answered."""
        return int(self.model.rpartition(":")[2])


@dataclass(frozen=True)
class Feedback:
    """What the answer with this id should have been."""

    id: str
    label: str
    labelled_by: str = ""


class Client:
    """
    Talks to one service; may be shared between threads.

    Refusals that say "later" (429, 503) and broken connections are tried again within `patience_s`, waiting as
    Retry-After says. Every prediction has an id from the start, so that a second try is known as one.
    """

    def __init__(self, url: str, token: str = "", *, timeout_s: float = 30.0, patience_s: float = 15.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        self._patience_s = patience_s

    def predict(
        self,
        image: bytes,
        metadata: Mapping[str, str] | None = None,
        id: str | None = None,  # noqa: A002 - its name in the interface
    ) -> ClientAnswer:
        """
        Classify one image.

        Raises:
            ServiceRefused: the service did not take it; `code` says why.
            ServiceAway: nobody answered within the patience.
        """
        fields = {**(metadata or {}), "id": id or new_id()}
        headers = {"Content-Type": "application/octet-stream"}
        return ClientAnswer(**self._ask("POST", "/v1/predict", content=image, params=fields, headers=headers))

    def feedback(self, labels: Sequence[Feedback]) -> Sequence[Mapping[str, str]]:
        """Hand in labels; returns the service's notes about some of them, such as an unknown class."""
        items = [{"id": one.id, "label": one.label, "labelled_by": one.labelled_by} for one in labels]
        notes: list[dict[str, str]] = self._ask("POST", "/v1/feedback", json=items)["notes"] if items else []
        return notes

    def model(self) -> Mapping[str, Any]:
        """What `GET /v1/model` says."""
        return self._ask("GET", "/v1/model")

    def ready(self) -> bool:
        """Whether the service has a model and answers, asked once."""
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        deadline, wait = time.monotonic() + self._patience_s, _FIRST_WAIT_S
        while True:
            failure: ServiceRefused | ServiceAway
            pause = wait
            try:
                response = self._http.request(method, path, **request)
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
                failure = ServiceAway(f"No service answers at {self._http.base_url} ({reason}). Is `kedge up` running?")
                failure.__cause__ = error
            else:
                if response.is_success:
                    answer: dict[str, Any] = response.json()
                    return answer
                failure = _refused(response)
                if response.status_code not in (429, 503):
                    raise failure
                pause = _seconds(response.headers.get("retry-after", ""), wait)
            if time.monotonic() + pause > deadline:
                raise failure
            time.sleep(pause)
            wait = min(wait * 2, _MOST_WAIT_S)


def _refused(response: httpx.Response) -> ServiceRefused:
    try:
        error = response.json()["error"]
        return ServiceRefused(response.status_code, error["code"], error["message"])
    except (ValueError, KeyError, TypeError):
        return ServiceRefused(response.status_code, "no_code", response.text[:200])


def _seconds(text: str, otherwise: float) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return otherwise

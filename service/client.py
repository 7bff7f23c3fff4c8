"""A small client: sends images, gives answers as records, and comes back politely when told to."""

import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult, quote, urlsplit

import httpx

from infra.clock import new_id, now
from infra.errors import UserError

_FIRST_WAIT_S, _MOST_WAIT_S = 0.25, 5.0
_BATCH_IMAGES, _BATCH_BYTES = 16, 8_000_000
_LATER = (429, 503)
# What a request with one image is refused for because of that image, and of nothing else.
_OF_THE_IMAGE = (413, 415, 422)
_NOT_OURS = "what answers there is not Kedge; check the address"
_AT_HOME = ("127.0.0.1", "::1", "localhost")


class ServiceRefused(UserError):
    """
    The service answered, but with an error.

    Attributes:
        status: of HTTP.
        code: stable; "no_code" where the answer was not the service's own.
        request_id: by which the service's log knows the request.
    """

    def __init__(self, status: int, code: str, message: str, request_id: str = "") -> None:
        named = f", request {request_id}" if request_id else ""
        super().__init__(f"{message} ({status} {code}{named})")
        self.status, self.code, self.message, self.request_id = status, code, message, request_id


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
class Unanswered:
    """An image that the service could not use, among others that it could; `code` is stable."""

    id: str
    code: str
    message: str


@dataclass(frozen=True)
class Feedback:
    """What the answer with this id should have been."""

    id: str
    label: str
    labelled_by: str = ""


@dataclass(frozen=True)
class RetrainRequest:
    """
    A request for a retrain, as it stands.

    Attributes:
        request: its id.
        state: "waiting", "accepted" or "declined".
        words: why.
        job: id of the job that does it; None where there is none.
    """

    request: str
    state: str
    reason: str
    words: str
    job: str | None


class Client:
    """
    Talks to one service; may be shared between threads.

        with Client("http://127.0.0.1:3000", token) as client:
            answer = client.predict(Path("card.jpg").read_bytes(), {"camera": "hall-1"})
            client.feedback([Feedback(answer.id, "dark")])

    Refusals that say "later" (429, 503) and broken connections are tried again within `patience_s`, waiting as
    Retry-After says and a random bit longer; nothing else is. Every prediction has an id from the start, so that a
    second try is known as one: the service answers it anew, and the log counts it once. Images are bytes and not
    open files, for what was half sent could not be sent again.

    Attributes:
        url: as given.
        patience_s: for all tries of one request together; `timeout_s` is for each.
    """

    def __init__(self, url: str, token: str = "", *, timeout_s: float = 30.0, patience_s: float = 15.0) -> None:
        """Nothing is asked yet; an address or a token that cannot be sent is a UserError."""
        parts = _parts(url)
        if not token.isascii() or not token.isprintable() or " " in token:
            raise UserError("The token has characters that no token has; copy it again, without spaces or line breaks.")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # A company's proxy knows nothing of this machine's own addresses.
        beyond = parts.hostname not in _AT_HOME
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, trust_env=beyond)
        self.url, self.patience_s = url, patience_s

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
        params = {**(metadata or {}), "id": id or new_id()}
        headers = {"Content-Type": "application/octet-stream"}
        return _answer(self._ask("POST", "/v1/predict", content=image, params=params, headers=headers))

    def predict_many(
        self,
        images: Iterable[bytes],
        metadata: Mapping[str, str] | None = None,
        ids: Sequence[str] | None = None,
    ) -> Iterator[ClientAnswer | Unanswered]:
        """
        Classify images a batch at a time: one outcome for each, in their order, as the batches are answered.

        Args:
            images: may be a generator; little more than one batch of them is held.
            metadata: of all of them.
            ids: one for each image; made where none are given.

        Raises:
            ServiceRefused: a request failed as a whole, as for a wrong token.
            ServiceAway: nobody answered within the patience.
        """
        given = iter(ids) if ids is not None else iter(new_id, "")
        for batch in _batches(images):
            asked = list(zip(batch, given, strict=False))
            if len(asked) < len(batch):
                raise ValueError("there are more images than ids; give one for each, or none")
            yield from self._answers(asked, metadata or {})

    def feedback(self, labels: Sequence[Feedback]) -> Sequence[Mapping[str, str]]:
        """Hand in labels; returns the service's notes about some of them, such as an unknown class."""
        items = [{"id": one.id, "label": one.label, "labelled_by": one.labelled_by} for one in labels]
        notes: list[dict[str, str]] = self._ask("POST", "/v1/feedback", json=items)["notes"] if items else []
        return notes

    def model(self) -> Mapping[str, Any]:
        """What `GET /v1/model` says."""
        return self._ask("GET", "/v1/model")

    def request_retrain(self, reason: str) -> str:
        """
        Ask for a retrain; gives the request's id, by which `retrain_request` tells how it stands.

        A broken connection is tried again, so one wish may be written down twice; it is one job all the same.

        Raises:
            ServiceRefused: the token's role is not admin, or the reason cannot be used.
            ServiceAway: nobody answered within the patience.
        """
        identifier: str = self._ask("POST", "/v1/retrain", json={"reason": reason})["request"]
        return identifier

    def retrain_request(self, request: str) -> RetrainRequest:
        """How a request stands; one that nobody made is a ServiceRefused with the code `no_such_request`."""
        answer = self._ask("GET", f"/v1/retrain/{quote(request, safe='')}")
        return RetrainRequest(**{field.name: answer[field.name] for field in fields(RetrainRequest)})

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

    def _answers(
        self, asked: Sequence[tuple[bytes, str]], metadata: Mapping[str, str]
    ) -> list[ClientAnswer | Unanswered]:
        form = {"id": [identifier for _, identifier in asked], "metadata": json.dumps(dict(metadata))}
        files = [("image", ("image", image)) for image, _ in asked]
        try:
            answer = self._ask("POST", "/v1/predict", data=form, files=files)
        except ServiceRefused as refused:
            if len(asked) == 1 and refused.status in _OF_THE_IMAGE:
                return [Unanswered(asked[0][1], refused.code, refused.message)]
            if len(asked) > 1 and refused.status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
                # Too much for one body may be well for two; what is too large alone will be found out.
                half = len(asked) // 2
                return [*self._answers(asked[:half], metadata), *self._answers(asked[half:], metadata)]
            raise
        return [_outcome(item) for item in answer.get("predictions", [answer])]

    def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        deadline, wait_s, request_id = time.monotonic() + self.patience_s, _FIRST_WAIT_S, new_id()
        headers = {**request.pop("headers", {}), "X-Request-ID": request_id}
        while True:
            failure: ServiceRefused | ServiceAway
            pause_s = wait_s
            try:
                response = self._http.request(method, path, headers=headers, **request)
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
                failure = ServiceAway(f"No service answers at {self.url} ({reason}). Is `kedge up` running?")
                failure.__cause__ = error
            else:
                if response.is_success:
                    return _content(response, request_id)
                failure = _refused(response, request_id)
                if response.status_code not in _LATER:
                    raise failure
                pause_s = _seconds(response.headers.get("retry-after", ""), wait_s)
            left_s = deadline - time.monotonic()
            if pause_s > left_s:
                raise failure
            # Callers that were turned away together should not all come back together.
            time.sleep(min(pause_s * random.uniform(1.0, 1.5), left_s))  # noqa: S311 - no secret
            wait_s = min(wait_s * 2, _MOST_WAIT_S)


def _parts(url: str) -> SplitResult:
    words = f"'{url}' is no address of a service; expected one like http://127.0.0.1:3000."
    try:
        parts = urlsplit(url)
        _ = parts.port  # read here, or httpx complains of it
    except ValueError as error:  # brackets that do not close, or a port that is no number
        raise UserError(words) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(words)
    return parts


def _batches(images: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for image in images:
        if batch and (len(batch) == _BATCH_IMAGES or size + len(image) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(image)
        size += len(image)
    if batch:
        yield batch


def _outcome(item: Mapping[str, Any]) -> ClientAnswer | Unanswered:
    error = item.get("error")
    return _answer(item) if error is None else Unanswered(item["id"], error["code"], error["message"])


def _answer(item: Mapping[str, Any]) -> ClientAnswer:
    # A newer service may say more than this client knows.
    return ClientAnswer(**{field.name: item[field.name] for field in fields(ClientAnswer)})


def _content(response: httpx.Response, request_id: str) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ServiceRefused(response.status_code, "no_code", _NOT_OURS, request_id)
    return content


def _refused(response: httpx.Response, request_id: str) -> ServiceRefused:
    try:
        error = response.json()["error"]
        return ServiceRefused(response.status_code, error["code"], error["message"], request_id)
    except (ValueError, KeyError, TypeError):
        return ServiceRefused(response.status_code, "no_code", response.text[:200], request_id)


def _seconds(text: str, otherwise_s: float) -> float:
    """Retry-After: seconds, or a date (RFC 9110, section 10.2.3); anything else is no help."""
    try:
        return max(0.0, float(text)) if text.strip().replace(".", "", 1).isdecimal() else _until(text)
    except (ValueError, TypeError):
        return otherwise_s


def _until(text: str) -> float:
    at = parsedate_to_datetime(text)
    # A date without a zone is in UTC, as HTTP has it.
    aware: datetime = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (aware - now()).total_seconds())

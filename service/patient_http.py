"""Requests to one service that are tried again for as long as it says "later" and patience lasts."""

import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx

from infra.clock import new_id, now
from infra.errors import UserError

_FIRST_WAIT_S, _MOST_WAIT_S = 0.25, 5.0
_LATER = (429, 503)
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


class PatientHttp:
    """Asks one service; refusals that say "later" (429, 503) and broken connections are tried again, nothing else."""

    def __init__(self, url: str, token: str, *, timeout_s: float, patience_s: float) -> None:
        """Nothing is asked yet; an address or a token that cannot be sent is a UserError."""
        parts = _parts(url)
        if not token.isascii() or not token.isprintable() or " " in token:
            raise UserError("The token has characters that no token has; copy it again, without spaces or line breaks.")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # A company's proxy knows nothing of this machine's own addresses.
        beyond = parts.hostname not in _AT_HOME
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, trust_env=beyond)
        self.url, self.patience_s = url, patience_s

    def ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """
        What the service answers, as JSON.

        Raises:
            ServiceRefused: it answered with an error; "later" counts once patience is over.
            ServiceAway: nobody answered within the patience.
        """
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

    def is_well(self, path: str) -> bool:
        """Whether it answers there with success, asked once."""
        try:
            return self._http.get(path).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self._http.close()


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

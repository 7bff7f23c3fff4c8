"""Headers that never end, on a new connection and on one that was used; and callers who are only slow."""

import asyncio
import contextlib
import time

import pytest
import uvicorn

from service.punctual_http import PunctualHttp

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"


class Impatient(PunctualHttp):
    headers_s = 0.5


async def application(scope, receive, send):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def connection():
    config = uvicorn.Config(application, port=0, http=Impatient, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells by a flag alone
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        server.should_exit = True
        await serving


async def ends_within(reader, seconds):
    """Whether the server closes the connection; it may be reset."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                if await reader.read(4096) == b"":
                    return True
        except ConnectionError:
            return True
        except TimeoutError:
            return False
    return False


@pytest.mark.parametrize("sent", [b"", b"POST / HT", HEAD, HEAD + b"X-Slow: "])
def test_headers_that_never_end_close_a_new_connection(sent):
    async def story():
        async with connection() as (reader, writer):
            writer.write(sent)
            return await ends_within(reader, 10)

    assert asyncio.run(story())


def test_headers_that_never_end_close_a_connection_that_was_used():
    async def story():
        async with connection() as (reader, writer):
            writer.write(HEAD + b"\r\nok")
            answer = await reader.readuntil(b"ok")
            writer.write(HEAD)
            return answer, await ends_within(reader, 10)

    answer, ended = asyncio.run(story())

    assert answer.startswith(b"HTTP/1.1 200")
    assert ended


def test_a_body_may_take_longer_than_headers_may_and_idle_connections_stay():
    async def story():
        async with connection() as (reader, writer):
            writer.write(HEAD + b"\r\no")
            await asyncio.sleep(1.2)
            writer.write(b"k")
            first = await reader.readuntil(b"ok")
            await asyncio.sleep(1.2)
            writer.write(HEAD + b"\r\nok")
            return first, await reader.readuntil(b"ok")

    answers = asyncio.run(story())

    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)

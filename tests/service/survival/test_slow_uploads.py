"""Callers that send a byte a second: they are cut off, and nobody waits for them."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from tests.service.cards import Place, workers_of
from tests.service.survival.traffic import Traffic, configure, resident_mb

pytestmark = [pytest.mark.slow, pytest.mark.survival]

SOCKETS, PATIENCE_S = 100, 60
RAW = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: 90000\r\n\r\n"
FORM = RAW.replace(b"image/jpeg", b"multipart/form-data; boundary=edge")
FORM += b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
LABELS = RAW.replace(b"image/jpeg", b"application/json").replace(b"predict", b"feedback")
CHUNKED = RAW.replace(b"Content-Length: 90000", b"Transfer-Encoding: chunked")


@pytest.mark.parametrize("runtime", ["bentoml", "uvicorn"])
def test_a_hundred_uploads_of_a_byte_a_second_are_cut_off_while_everybody_else_is_answered(
    place: Place, runtime: Any
) -> None:
    configure(place, upload_s=2.0)
    place.champion()
    place.serve(runtime)
    with Traffic(place.url, callers=2) as others:
        ends = asyncio.run(trickled(place.settings.serve.port, [RAW, FORM, LABELS, CHUNKED]))
        answered = len(others.answered)

    print(f"\n{ends}; meanwhile {others.summary()}")
    # Who sends a byte in the very moment may see the connection break and not the words.
    assert ends.keys() <= {"HTTP/1.1 408 Request Timeout", "cut off without a word"}
    assert ends["HTTP/1.1 408 Request Timeout"] > 0
    assert answered > 20
    assert (others.wrong, others.refused, others.broken) == ([], [], [])


def test_connections_that_never_finish_their_headers_keep_nobody_from_an_answer(place: Place) -> None:
    place.champion()
    supervisor = place.serve("uvicorn")
    before = [resident_mb(pid) for pid in workers_of(supervisor.pid)]

    with Traffic(place.url, callers=2) as others:
        open_still = asyncio.run(half_asked(place.settings.serve.port, 300, hold_s=5))
        answered = len(others.answered)
    grown = [resident_mb(pid) - mb for pid, mb in zip(workers_of(supervisor.pid), before, strict=True)]

    print(f"\n{open_still} of 300 still open after 5 s, grown by {grown} MB; meanwhile {others.summary()}")
    assert answered > 20
    assert (others.wrong, others.refused, others.broken) == ([], [], [])
    assert max(grown) < 50


async def trickled(port: int, heads: Iterable[bytes]) -> Counter[str]:
    """How each of a hundred slow uploads ended: its status line, or what became of the connection."""
    kinds = list(heads)
    return Counter(await asyncio.gather(*(_trickle(port, kinds[n % len(kinds)]) for n in range(SOCKETS))))


async def half_asked(port: int, count: int, hold_s: float) -> int:
    """Open connections, send half a header on each; how many of them the server still holds some seconds later."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    for _, writer in opened:
        writer.write(RAW[:40])
    await asyncio.sleep(hold_s)
    open_still = sum(not reader.at_eof() for reader, _ in opened)
    for _, writer in opened:
        writer.close()
    return open_still


async def _trickle(port: int, head: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    sending = asyncio.create_task(_send(writer, b"1\r\nx\r\n" if b"chunked" in head else b"x"))
    try:
        async with asyncio.timeout(PATIENCE_S):
            # To its end: an answer alone does not free the connection.
            told = await reader.read()
    except TimeoutError:
        return "never cut off"
    except ConnectionError:
        return "cut off without a word"
    finally:
        sending.cancel()
        await asyncio.wait([sending])
        writer.transport.abort()
    return told.partition(b"\r\n")[0].decode()


async def _send(writer: asyncio.StreamWriter, piece: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(1)

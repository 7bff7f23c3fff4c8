"""A door that closes behind those who are on their way in, on real sockets."""

import socket
import sys

import pytest

from service.newcomers import keep_newcomers_out

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux filters what reaches a listening socket")


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_who_shook_hands_is_let_in_and_who_comes_later_meets_a_closed_door(family, host):
    with socket.socket(family) as listening:
        try:
            listening.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        listening.listen()
        address = listening.getsockname()
        early = [socket.create_connection(address[:2], timeout=10) for _ in range(5)]

        keep_newcomers_out(listening)

        with pytest.raises(TimeoutError):
            socket.create_connection(address[:2], timeout=0.3)
        let_in = [listening.accept()[0] for _ in early]
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address[:2], timeout=10)
    for caller, one in zip(early, let_in, strict=True):
        caller.sendall(b"still here")
        assert one.recv(10) == b"still here"
        caller.close()
        one.close()

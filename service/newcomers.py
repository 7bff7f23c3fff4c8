"""
A listening socket that lets in who is on the way, and nobody else.

Closed at once, it would reset connections that shook hands and were not taken in yet.
"""

import ctypes
import socket
import struct
import sys

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; Python has no name for it
_FLAGS, _SYN, _SYN_OR_ACK = 13, 0x02, 0x12  # in the TCP header (RFC 9293, section 3.1)
_DROP, _KEEP = 0, 0xFFFFFFFF
# The kernel runs this for each segment that reaches the listening socket: (code, jump if true, if false, operand).
_NO_FIRST_SEGMENTS = (
    (0x30, 0, 0, _FLAGS),  # load the byte
    (0x54, 0, 0, _SYN_OR_ACK),  # and
    (0x15, 0, 1, _SYN),  # equal?
    (0x06, 0, 0, _DROP),
    (0x06, 0, 0, _KEEP),
)


def keep_newcomers_out(listening: socket.socket) -> None:
    """
    Take no new connection; those that are shaking hands arrive as ever.

    On Linux a newcomer hears nothing and knocks again after a second: at another worker of the port, or at a closed
    door. Where that cannot be had the queue is made as short as can be: of who comes before the socket is closed, one
    may be reset.
    """
    try:
        _filter(listening)
    except OSError:  # another system, or a sandbox that knows no filters
        listening.listen(0)


def _filter(listening: socket.socket) -> None:
    if sys.platform != "linux":
        raise OSError(f"{sys.platform} has no socket filters of this kind")
    program = b"".join(struct.pack("HBBI", *step) for step in _NO_FIRST_SEGMENTS)
    kept = ctypes.create_string_buffer(program, len(program))
    listening.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_FIRST_SEGMENTS), ctypes.addressof(kept))
    )

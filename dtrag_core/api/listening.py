"""The socket the service listens on, and leaving when asked to."""

import contextlib
import socket
from types import FrameType
from typing import Final, NoReturn

from dtrag_core.errors import UsageError

BACKLOG: Final = 2_048
DRAIN_S: Final = 30
_UNREAD_MS: Final = 30_000


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Its connections are given up when what was sent on them stays unread. Raises UsageError if the
    address cannot be used.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family)
    except (OSError, OverflowError, UnicodeError) as error:
        raise _unusable(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(AttributeError, OSError):  # Linux only
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _unusable(host, port, error) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the address of a socket that listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def leave(_: int, __: FrameType | None) -> NoReturn:
    """Leave the process as if it was done: what SIGTERM asks for."""
    raise SystemExit(0)


def _unusable(host: str, port: int, error: Exception) -> UsageError:
    why = getattr(error, "strerror", None) or error
    return UsageError(
        f"cannot listen on {host}, port {port} ({why}); choose another --host or --port, or port 0 "
        "for a free one"
    )

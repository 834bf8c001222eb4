"""Runs the service in this process, on a socket that listens already."""

import contextlib
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Final, NoReturn

import uvicorn

from dtrag_core.api.app import create_app
from dtrag_core.api.protocol import GuardedProtocol
from dtrag_core.api.settings import ServiceSettings
from dtrag_core.errors import UsageError

DRAIN_S: Final = 30
_BACKLOG: Final = 2_048
_KEEP_ALIVE_S: Final = 30
_UNREAD_MS: Final = 30_000

Ready = Callable[[], None]


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
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _unusable(host, port, error) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the address of a socket that listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(settings: ServiceSettings, listener: socket.socket, ready: Ready) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish those that run.

    `ready` is called once requests are answered. Leaves by SystemExit(0) or KeyboardInterrupt, as
    those signals have it. Raises as `create_app` does.
    """
    signal.signal(signal.SIGTERM, leave)
    config = uvicorn.Config(
        create_app(settings),
        http=GuardedProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    _Server(config, ready).run(sockets=[listener])


def leave(_: int, __: FrameType | None) -> NoReturn:
    """Leave the process as if it was done: what SIGTERM asks for."""
    raise SystemExit(0)


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Ready) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def _unusable(host: str, port: int, error: Exception) -> UsageError:
    why = getattr(error, "strerror", None) or error
    return UsageError(
        f"cannot listen on {host}, port {port} ({why}); choose another --host or --port, or port 0 "
        "for a free one"
    )

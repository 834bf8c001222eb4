"""Runs the service in this process, on a socket that listens already."""

import gc
import signal
import socket
from asyncio import Protocol
from collections.abc import Callable
from functools import partial
from typing import Final, cast

import uvicorn

from dtrag_core.api.app import create_app
from dtrag_core.api.listening import BACKLOG, DRAIN_S, leave
from dtrag_core.api.protocol import GuardedProtocol
from dtrag_core.api.settings import ServiceSettings

_GARBAGE_AFTER: Final = 20_000
_OTHER_FILES: Final = 512


def serve(settings: ServiceSettings, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish those that run.

    `ready` is called once requests are answered. Leaves by SystemExit(0) or KeyboardInterrupt, as
    those signals have it. Raises as `create_app` does.
    """
    signal.signal(signal.SIGTERM, leave)
    _allow_files(settings.connections.most + _OTHER_FILES)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http=cast(type[Protocol], partial(GuardedProtocol, settings.connections, app.shed)),
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",  # below it are words about each bad request: clients could fill the log
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=settings.connections.idle_s,
        timeout_graceful_shutdown=DRAIN_S,
    )
    _Server(config, ready).run(sockets=[listener])


def _allow_files(needed: int) -> None:
    """Raise the limit of open files to what is needed, as far as the system lets."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            # What is loaded by now stays. Looking through it for garbage, again and again, would
            # take more time than searching does.
            gc.collect()
            gc.freeze()
            gc.set_threshold(_GARBAGE_AFTER)
            self._ready()

"""Runs the service in this process, on a socket that listens already."""

import gc
import signal
import socket
from collections.abc import Callable
from typing import Final

import uvicorn

from dtrag_core.api.app import create_app
from dtrag_core.api.listening import BACKLOG, DRAIN_S, leave
from dtrag_core.api.protocol import GuardedProtocol
from dtrag_core.api.settings import ServiceSettings

_KEEP_ALIVE_S: Final = 30
_GARBAGE_AFTER: Final = 20_000


def serve(settings: ServiceSettings, listener: socket.socket, ready: Callable[[], None]) -> None:
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
        backlog=BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    _Server(config, ready).run(sockets=[listener])


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

"""The service in this process, and as real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from dtrag_core.api.admission import Admission
from dtrag_core.api.app import create_app
from dtrag_core.api.settings import ServiceSettings
from dtrag_core.search.dao import SearchDAO

T = TypeVar("T")
Json = Any
Serve = Callable[..., "Served"]


class Running:
    """An application on an event loop of its own, asked without sockets."""

    def __init__(self, app: Admission) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        transport = httpx.ASGITransport(app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://service")
        self.run(app.service.start())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def ask(self, method: str, path: str, **options: Json) -> httpx.Response:
        return self.run(self._client.request(method, path, **options))

    def post(self, path: str, **body: Json) -> httpx.Response:
        return self.ask("POST", path, json=body)

    def close(self) -> None:
        self.run(self._client.aclose())
        self.run(self.app.service.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def running(settings: ServiceSettings, dao: SearchDAO | None = None) -> Iterator[Running]:
    service = Running(create_app(settings, dao))
    try:
        yield service
    finally:
        service.close()


@pytest.fixture(scope="session")
def run_app() -> Callable[..., Any]:
    """`running`, for tests that need settings of their own."""
    return running


@pytest.fixture(scope="module")
def service(small_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service over the small corpus, asked without sockets."""
    jobs = tmp_path_factory.mktemp("service") / "jobs.sqlite"
    settings = ServiceSettings(small_index, jobs=jobs, queries=("first", "second", "third"))
    with running(settings) as opened:
        yield opened


class Served:
    """A `dtrag serve` that answers."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process = process
        self.url = url
        self.address = ("127.0.0.1", int(url.rsplit(":", 1)[1]))

    def post(self, path: str, **body: Json) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=30)

    def end(self) -> tuple[int, str]:
        """Ask it to end; return its status and what it said on standard error."""
        self.process.send_signal(signal.SIGTERM)
        errors = self.process.communicate(timeout=60)[1]
        return self.process.returncode, errors


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start `dtrag serve` with these arguments, at a free port; ended with the module's tests."""
    home = tmp_path_factory.mktemp("served")
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> Served:
        jobs = home / f"jobs-{len(started)}.sqlite"
        command = [sys.executable, "-m", "dtrag_core.cli", "serve", *map(str, arguments)]
        process = subprocess.Popen(
            [*command, "--port", "0", "--jobs", str(jobs)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "DTRAG_HOME": str(home)},
        )
        started.append(process)
        assert process.stdout
        url = process.stdout.readline().strip()
        assert url, process.communicate()[1]
        return Served(process, url)

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)

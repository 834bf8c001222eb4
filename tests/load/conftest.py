"""A stand-in for the service in a process of its own."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dtrag_core.bench.service_process import ServiceProcess

DOUBLE = (sys.executable, str(Path(__file__).with_name("double.py")))
Start = Callable[..., ServiceProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start doubles with options; all are stopped after the test."""
    with ExitStack() as running:

        def started(*options: object) -> ServiceProcess:
            return running.enter_context(ServiceProcess([*DOUBLE, *map(str, options)], (), 60.0))

        yield started


@pytest.fixture(scope="module")
def double() -> Iterator[ServiceProcess]:
    """A double that answers at once."""
    with ServiceProcess(DOUBLE, (), 60.0) as process:
        yield process

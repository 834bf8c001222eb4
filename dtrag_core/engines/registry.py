"""Engines by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from dtrag_core.engines.base import Engine
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.errors import UnknownNameError

ENGINES: Final[Mapping[str, Callable[[Path], Engine]]] = {"embedded": EmbeddedEngine}


def open_engine(name: str, location: Path) -> Engine:
    """Open the engine of this name on what lies at `location`."""
    if name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES)
    return ENGINES[name](location)

"""Finding the packages that peers are made of."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Any

from dtrag_core.bench.peers.base import EXTRA
from dtrag_core.errors import MissingExtraError


def needed(peer: str, module: str, package: str) -> Any:  # noqa: ANN401 (any module)
    """Return the imported module; MissingExtraError naming the extra if it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise MissingExtraError(f"the engine {peer!r}", package, EXTRA) from error


def versions_of(*packages: str) -> Mapping[str, str]:
    """Return the installed version of each package."""
    return {package: version(package) for package in packages}

"""Answers that were given before."""

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from cachetools import TTLCache

V = TypeVar("V")


class AnswerCache(Generic[V]):
    """LRU of at most `capacity` answers, 0 for none, each for `ttl_s`; for one event loop.

    Identical requests that run at the same time are shared by the batches, not here.
    """

    def __init__(
        self, capacity: int, ttl_s: float, *, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._stored: TTLCache[Hashable, V] | None = None
        if capacity:
            self._stored = TTLCache(capacity, ttl_s, timer)

    def __len__(self) -> int:
        return 0 if self._stored is None else len(self._stored)

    @property
    def on(self) -> bool:
        """Whether anything is kept."""
        return self._stored is not None

    def get(self, key: Hashable) -> V | None:
        """Return what is kept under the key."""
        return None if self._stored is None else self._stored.get(key)

    def put(self, key: Hashable, value: V) -> None:
        """Keep it, in the place of the one used longest ago if there is no room."""
        if self._stored is not None:
            self._stored[key] = value

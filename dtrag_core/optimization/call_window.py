"""What the last calls of something were like: how many, how many failed, how many were slow."""

from collections import deque


class WindowEntry:
    """A call, or several made as one, in a window; `weight` is how many of them it still holds."""

    __slots__ = ("failed", "slow", "weight")

    def __init__(self, weight: int, failed: bool, slow: bool) -> None:
        self.weight = weight
        self.failed = failed
        self.slow = slow


class CallWindow:
    """The last `size` calls, with running counts of all, of the failed and of the slow ones."""

    __slots__ = ("_entries", "calls", "failed", "size", "slow")

    def __init__(self, size: int) -> None:
        self.size = size
        self.clear()

    def add(self, weight: int, *, failed: bool, slow: bool) -> WindowEntry:
        """Count `weight` calls; the oldest beyond `size` go."""
        entry = WindowEntry(min(weight, self.size), failed, slow)
        self._entries.append(entry)
        self._count(entry, entry.weight)
        while self.calls > self.size:
            oldest = self._entries[0]
            gone = min(oldest.weight, self.calls - self.size)
            self._count(oldest, -gone)
            oldest.weight -= gone
            if not oldest.weight:
                self._entries.popleft()
        return entry

    def fail(self, entry: WindowEntry, weight: int) -> None:
        """Count as failed the calls of an entry added before; anew if it has left the window."""
        if not entry.weight:
            self.add(weight, failed=True, slow=entry.slow)
        elif not entry.failed:
            entry.failed = True
            self.failed += entry.weight

    def clear(self) -> None:
        """Forget every call."""
        self._entries: deque[WindowEntry] = deque()
        self.calls = self.failed = self.slow = 0

    def _count(self, entry: WindowEntry, weight: int) -> None:
        self.calls += weight
        self.failed += weight * entry.failed
        self.slow += weight * entry.slow

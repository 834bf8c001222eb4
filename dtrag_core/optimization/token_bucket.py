"""A token bucket: at most `burst` at once, and `rate` a second in the long run."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Final

from dtrag_core.errors import InvalidRequestError

_ROUNDING_S: Final = 1e-9  # whoever waited exactly as long as told must be admitted


def draw(
    full_at: float, now: float, rate: float, burst: float, tokens: float
) -> tuple[float, float]:
    """Take `tokens` from a bucket that is full again at `full_at` (s); 0.0 is a full bucket.

    Returns the new `full_at` and 0.0, or if there are too few the seconds until there are enough.
    That one number is all of a bucket's state is the generic cell rate algorithm (ITU-T I.371).
    Raises InvalidRequestError for more tokens than the bucket ever holds.
    """
    if not (rate > 0 and 0 < tokens <= burst):
        raise InvalidRequestError(
            f"a bucket needs rate > 0 and gives more than 0 and at most `burst` tokens at once, "
            f"got rate={rate}, burst={burst}, tokens={tokens}; ask for fewer, in parts"
        )
    filling_s = burst / rate
    debt_s = full_at - now
    if not debt_s > 0:
        debt_s = 0.0
    elif debt_s > filling_s:  # the clock began anew, or rate and burst were others
        debt_s = filling_s
        full_at = now + debt_s
    cost_s = tokens / rate
    wait_s = debt_s + cost_s - filling_s
    if wait_s > _ROUNDING_S:
        return full_at, wait_s
    return now + debt_s + cost_s, 0.0


class TokenBucket:
    """A bucket of `burst` tokens, full at first, into which `rate` tokens a second fall.

    Never gives more than rate x time + burst. Safe to use from several threads.
    """

    def __init__(
        self, rate: float, burst: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not (rate > 0 and burst >= 1):
            raise InvalidRequestError(
                f"a token bucket needs rate > 0 and burst >= 1, got {rate}, {burst}"
            )
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._lock = Lock()
        self._full_at = 0.0

    def take(self, tokens: float = 1) -> float:
        """Take `tokens` and return 0.0, or take none and return the seconds until it could."""
        with self._lock:
            self._full_at, wait_s = draw(
                self._full_at, self._clock(), self.rate, self.burst, tokens
            )
            return wait_s

    def wait(self, tokens: float = 1) -> float:
        """Return what `take` would, and take nothing."""
        with self._lock:
            return draw(self._full_at, self._clock(), self.rate, self.burst, tokens)[1]

"""Decides from measured costs whether two legs run at the same time or in turn."""

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dtrag_core.types import Span

_LEARNING: Final = 16  # searches run in turn before the first decision
_TRIAL: Final = 16  # overlapped searches in a row that say what overlapping costs
_WINDOW: Final = 64  # searches in turn that a cost is the median of
_RETRY_IN_TURN: Final = 16  # overlapped searches after which one is run in turn
_RETRY_OVERLAPPED: Final = 2_048  # searches in turn before another trial, twice as many each time


@dataclass(frozen=True, slots=True)
class OverlapDecision:
    """Whether legs are overlapped and the costs in microseconds behind it."""

    overlap: bool
    reason: str
    bm25_us: float
    embed_us: float
    vector_us: float
    hop_us: float
    in_turn_us: float
    overlapped_us: float


class OverlapPlanner:
    """Chooses the cheaper plan: overlapped, or in turn.

    Costs are medians over the latest searches, so that a stall of the machine decides nothing. What
    overlapping costs is predicted from the legs (the longer chain plus `hop_ns`, the cost of
    handing two jobs to threads) until it has been tried: some searches in a row, since the system
    takes a few to spread the threads over the cores. The plan not chosen is run again now and then,
    so that a change shows: a search in turn often, since it costs little; a trial of overlapping
    ever more rarely, and only while it would win if handing over cost nothing.
    """

    def __init__(self) -> None:
        self.hop_ns: float | None = None
        self._samples: dict[str, deque[int]] = {}
        self._costs: dict[str, float] = {}
        self._in_turn = 0
        self._since_in_turn = 0
        self._since_overlapped = 0
        self._patience = _RETRY_OVERLAPPED
        self._trial = 0

    def choose(self) -> bool:
        """Return whether to overlap the next search."""
        if self._in_turn < _LEARNING:
            return False
        if self._trial == 0 and self._is_trial_due():
            self._trial = _TRIAL
            self._samples["overlapped"] = deque(maxlen=_TRIAL)
        if self._trial > 0:
            return True
        return self._pays() and self._since_in_turn < _RETRY_IN_TURN

    def learn(self, overlapped: bool, total_ns: int, spans: Sequence[Span]) -> None:
        """Take in what a search cost; `spans` are its legs'."""
        if overlapped:
            self._since_in_turn += 1
            self._since_overlapped = 0
            self._trial = max(self._trial - 1, 0)
            self._sample("overlapped", total_ns, _TRIAL)
            return
        self._since_overlapped += 1
        self._since_in_turn = 0
        self._in_turn += 1
        self._sample("in_turn", total_ns, _WINDOW)
        for span in spans:
            self._sample(span.name, span.end_ns - span.start_ns, _WINDOW)

    def _is_trial_due(self) -> bool:
        if self._pays():
            return not self._tried()
        if self._since_overlapped < self._patience:
            return False
        self._patience *= 2
        return self._longer_chain() < self._cost("in_turn")

    def decision(self) -> OverlapDecision:
        """Return the plan in force and why."""
        overlap = self._in_turn >= _LEARNING and self._pays()
        overlapped, in_turn = self._overlapped() / 1e3, self._cost("in_turn") / 1e3
        if self._in_turn < _LEARNING:
            reason = f"costs are known after {_LEARNING} searches in turn"
        else:
            source = "measured" if self._tried() else "predicted"
            reason = (
                f"overlapped {source} {overlapped:.0f} us "
                f"{'<' if overlap else '>='} in turn {in_turn:.0f} us"
            )
        return OverlapDecision(
            overlap,
            reason,
            bm25_us=self._cost("bm25") / 1e3,
            embed_us=self._cost("embed") / 1e3,
            vector_us=self._cost("vector") / 1e3,
            hop_us=(self.hop_ns or 0.0) / 1e3,
            in_turn_us=in_turn,
            overlapped_us=overlapped,
        )

    def _pays(self) -> bool:
        return self._overlapped() < self._cost("in_turn")

    def _tried(self) -> bool:
        return len(self._samples.get("overlapped", ())) >= _TRIAL

    def _overlapped(self) -> float:
        if self._tried():
            return self._cost("overlapped")
        return self._longer_chain() + (self.hop_ns or 0.0)

    def _longer_chain(self) -> float:
        return max(self._cost("bm25"), self._cost("embed") + self._cost("vector"))

    def _cost(self, name: str) -> float:
        """Return the median cost, ns; computed when first asked for after a sample."""
        if name not in self._costs:
            samples = self._samples.get(name)
            self._costs[name] = statistics.median(samples) if samples else 0.0
        return self._costs[name]

    def _sample(self, name: str, cost: int, window: int) -> None:
        samples = self._samples.setdefault(name, deque(maxlen=window))
        samples.append(cost)
        # A median moves slowly: once the window is half full, every eighth sample will do.
        if len(samples) < window // 2 or self._in_turn % 8 == 0 or name == "overlapped":
            self._costs.pop(name, None)

"""The master's part: it adds up what its workers measured and writes `result.json` and a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dtrag_core.bench.environment import HostWatch, capture_environment
from dtrag_core.bench.gates import FELL_BACK
from dtrag_core.bench.load_result import FellBackError
from dtrag_core.bench.load_results import (
    KIND,
    SCHEMA_VERSION,
    stream_json,
    write_load_result,
)
from dtrag_core.bench.load_settings import LoadSettings
from dtrag_core.bench.load_verdicts import (
    CACHED,
    CLOSED_LOOP,
    generator_obstacles,
    judge_load,
    levels,
    of_scenario,
    side_by_side,
    steps_json,
)
from dtrag_core.bench.mixes import Stream
from dtrag_core.bench.result_file import header
from dtrag_core.bench.workload import workload_hash
from dtrag_core.report.load_page import write_load_report
from load_tests.recording import Merged
from load_tests.session import plans


class Total:
    """Everything measured by all processes of a test, and the result of it."""

    def __init__(
        self,
        settings: LoadSettings,
        queries: Sequence[str],
        streams: tuple[Stream, ...],
        *,
        open_loop: bool,
    ) -> None:
        self.settings = settings
        self.streams = streams
        self.open_loop = open_loop
        self.merged = Merged(settings.segments)
        self.cpu_shares: dict[str, float] = {}
        self.lost: list[str] = []
        self._hash = workload_hash(queries)
        self._plans = plans(settings, streams)
        self._watch = HostWatch()
        self._watch.__enter__()

    @property
    def planned(self) -> int:
        """How many requests the schedule has."""
        return sum(plan.requests for plan in self._plans)

    def add(self, process: str, report: dict[str, Any]) -> None:
        """Add what a process reports."""
        self.merged.add(report)
        self.cpu_shares[process] = report["cpu_share"]

    def write(self, folder: Path) -> Path:
        """Write the result and its report into a folder of their own; return the result's path."""
        result = self._result()
        path = write_load_result(result, folder / result["run_id"])
        write_load_report(result, path.parent)
        return path

    def _obstacles(self) -> list[str]:
        busiest = max(self.cpu_shares.values(), default=0.0)
        if not self.open_loop:
            return [CLOSED_LOOP, *self.lost]
        found = list(generator_obstacles(self.merged.lag, busiest))
        if self.merged.sent != self.planned:
            found.append(f"{self.merged.sent:,} of {self.planned:,} arrivals came to an end")
        kinds = {
            k for s in self.streams for part in self.merged.segments(s.name) for k in part.errors
        }
        if FellBackError.__name__ in kinds:
            found.append(FELL_BACK)
        return found + self.lost

    def _result(self) -> dict[str, Any]:
        self._watch.__exit__(None, None, None)
        settings, merged = self.settings, self.merged
        obstacles, lag = self._obstacles(), merged.lag
        return {
            **header(KIND, SCHEMA_VERSION, capture_environment(), self._watch.report.to_json()),
            "workload": {**settings.to_json(), "queries_hash": self._hash},
            "http_cost": None,
            "generator": {
                "name": "locust",
                "open_loop": self.open_loop,
                "processes": max(len(self.cpu_shares), 1),
                "lag": lag.to_json() if self.open_loop else None,
                "cpu_share": max(self.cpu_shares.values(), default=None),
                "self_test": None,
                "stalls_ns": [],
                "obstacles": obstacles,
            },
            "service": {"started": False, "arguments": [], "cores": None, "usage": None},
            "streams": [
                stream_json(
                    stream,
                    merged.segments(stream.name),
                    plan=plan if self.open_loop else None,
                    cached=merged.cached[stream.name],
                )
                for stream, plan in zip(self.streams, self._plans, strict=True)
            ],
            **self._judged(obstacles),
        }

    def _judged(self, obstacles: Sequence[str]) -> dict[str, Any]:
        every = [self.merged.segments(stream.name) for stream in self.streams]
        searching = [
            segments
            for stream, segments in zip(self.streams, every, strict=True)
            if not stream.batches
        ]
        shape, everything = self.settings.shape, side_by_side(every)
        searches = side_by_side(searching) if searching else []
        if self.settings.scenario == "steps" and self.open_loop:
            return {"steps": steps_json(levels(searches or everything, shape)), "targets": []}
        cached = (CACHED,) if self.merged.cached.total() else ()
        targets = judge_load(searches, everything, shape.mean, obstacles, cached)
        return {"steps": None, "targets": of_scenario(targets)}

"""What a Locust process knows of the test it takes part in: settings, requests, its share."""

import argparse
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.load_settings import LoadSettings
from dtrag_core.bench.mixes import SEARCH, Stream, filters_from, make_mix
from dtrag_core.errors import MeasuringError
from load_tests.recording import Recorder
from load_tests.sending import headers

_LEARNED_FROM = 50


@dataclass
class Session:
    """A process's share of a test: of every stream's arrivals `part`, `part + of`, and so on."""

    settings: LoadSettings
    streams: tuple[Stream, ...]
    recorder: Recorder
    part: int = 0
    of: int = 1
    start_ns: int = 0
    cpu_ns: int = 0

    def begin(self) -> int:
        """Start the clock with the first user, and return when that was, ns."""
        if not self.start_ns:
            self.start_ns, self.cpu_ns = time.perf_counter_ns(), time.process_time_ns()
        return self.start_ns

    def cpu_share(self) -> float:
        """Return the processor time of this process per time since the start."""
        if not self.start_ns:
            return 0.0
        passed = time.perf_counter_ns() - self.start_ns
        return (time.process_time_ns() - self.cpu_ns) / passed

    def stream(self, name: str) -> Stream:
        """Return a stream of the mix."""
        return next(stream for stream in self.streams if stream.name == name)


def settings_of(options: argparse.Namespace) -> LoadSettings:
    """Return the settings that the command line asks for. Raises UsageError for impossible ones."""
    return LoadSettings(
        scenario=options.scenario,
        mix=options.mix,
        rate=options.rate,
        seconds=options.seconds,
        dataset=None,
        queries=options.queries,
        warmup=0,
        cost_seconds=0,
        timeout_s=options.timeout_s,
        max_in_flight=options.max_in_flight,
        seed=options.seed,
    )


def plans(settings: LoadSettings, streams: tuple[Stream, ...]) -> list[LoadPlan]:
    """Return every stream's schedule, the same in every process."""
    return [
        LoadPlan.shaped(
            settings.shape.scaled(stream.share),
            segments=settings.segments,
            seed=settings.seed + place,
            timeout_s=settings.timeout_s,
            max_in_flight=settings.max_in_flight,
        )
        for place, stream in enumerate(streams)
    ]


def fetch_queries(host: str, settings: LoadSettings) -> list[str]:
    """Return the queries the service hands out. Raises MeasuringError if it does not."""
    queries: list[str] = _asked(host, f"/queries?limit={settings.queries}", None)["queries"]
    return queries


def make_streams(host: str, settings: LoadSettings, queries: list[str]) -> tuple[Stream, ...]:
    """Return the requests of the mix; filters are learned from what some searches find."""
    filters: list[dict[str, list[str]]] = []
    if settings.mix in ("filtered", "mixed"):
        filters = filters_from(
            [_asked(host, SEARCH, {"query": query}) for query in queries[:_LEARNED_FROM]]
        )
    return make_mix(settings.mix, queries, filters, seed=settings.seed)


def _asked(host: str, path: str, body: object) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(host.rstrip("/") + path, data, headers(30.0))
    try:
        with urllib.request.urlopen(request, timeout=30.0) as response:
            answer: dict[str, Any] = json.loads(response.read())
    except urllib.error.HTTPError as error:
        hint = "; start it with --expose-queries" if path.startswith("/queries") else ""
        raise MeasuringError(f"{host}{path} answers {error.code}{hint}") from error
    except OSError as error:
        raise MeasuringError(f"{host} does not answer: {error}; is it running?") from error
    return answer

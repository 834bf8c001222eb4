"""Locust in four real processes against a real server."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from dtrag_core.bench.clock import NS_PER_MS
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.load_result import Segment

from .conftest import Start

ROOT = Path(__file__).parents[2]


def test_four_processes_add_up_to_their_raw_latencies_and_a_stall_is_charged(
    start: Start, tmp_path: Path
) -> None:
    server = start("--delay", 0.002, "--queue", 20, "--stall-at", 1, "--stall", 1)
    command = [
        *(sys.executable, "-m", "locust", "-f", str(ROOT / "load_tests" / "locustfile.py")),
        *("--headless", "--host", server.url, "--processes", "4", "--open-loop"),
        *("--rate", "150", "--seconds", "3", "--out", str(tmp_path / "out")),
        *("--raw-log", str(tmp_path / "raw")),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120
    )

    (file,) = (tmp_path / "out").glob("*/result.json")
    assert done.returncode in (0, 1), done.stderr  # 1: Locust saw refusals
    assert (file.parent / "report.html").exists()
    result = json.loads(file.read_text())
    (stream,) = result["streams"]
    logs = sorted((tmp_path / "raw").iterdir())
    assert len(logs) == result["generator"]["processes"] == 4
    raw: dict[tuple[int, str], list[int]] = defaultdict(list)
    for log in logs:
        assert log.stat().st_size  # every process had its share
        for line in log.read_text().splitlines():
            _, at, outcome, ns = line.split()
            raw[int(at), outcome].append(int(ns))

    parts = [Segment.from_json(part) for part in stream["segments"]]
    for place, part in enumerate(parts):
        assert part.histogram == Histogram.of(raw[place, "answered"])
        for kind, histogram in part.refused.items():
            assert histogram == Histogram.of(raw[place, kind])
    whole = Segment.merge(parts)
    assert whole.histogram.count == sum(len(raw[p, "answered"]) for p in range(len(parts)))
    assert (stream["sent"], stream["sent"] - sum(stream["errors"].values())) == (
        450,
        whole.histogram.count,
    )
    # Those due while the server stood still waited, answered or refused.
    waited = [whole.histogram, *whole.refused.values()]
    assert sum(histogram.count_above(100 * NS_PER_MS) for histogram in waited) >= 100

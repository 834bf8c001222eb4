"""Locust on a real server: four processes of one command, and workers that join a master."""

import json
import socket
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dtrag_core.bench.clock import NS_PER_MS
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.load_result import Segment

from .conftest import Start

ROOT = Path(__file__).parents[2]
LOCUST = (sys.executable, "-m", "locust", "-f", str(ROOT / "load_tests" / "locustfile.py"))


def loading(url: str, folder: Path, rate: int) -> list[str]:
    """Return the command of three seconds in the open loop, all it writes in a folder."""
    return [
        *(*LOCUST, "--headless", "--host", url, "--open-loop", "--rate", str(rate)),
        *("--seconds", "3", "--out", str(folder / "out"), "--raw-log", str(folder / "raw")),
    ]


def adds_up(folder: Path, processes: int, sent: int) -> tuple[dict[str, Any], Segment]:
    """Hold the one result against the raw latencies of all processes; return it, and its sum."""
    (file,) = (folder / "out").glob("*/result.json")
    assert (file.parent / "report.html").exists()
    result: dict[str, Any] = json.loads(file.read_text())
    (stream,) = result["streams"]
    logs = sorted((folder / "raw").iterdir())
    assert len(logs) == result["generator"]["processes"] == processes
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
        sent,
        whole.histogram.count,
    )
    return result, whole


def test_four_processes_add_up_to_their_raw_latencies_and_a_stall_is_charged(
    start: Start, tmp_path: Path
) -> None:
    server = start("--delay", 0.002, "--queue", 20, "--stall-at", 1, "--stall", 1)
    command = [*loading(server.url, tmp_path, 150), "--processes", "4"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120
    )
    assert done.returncode in (0, 1), done.stderr  # 1: Locust saw refusals
    _, whole = adds_up(tmp_path, processes=4, sent=450)
    # Those due while the server stood still waited, answered or refused.
    waited = [whole.histogram, *whole.refused.values()]
    assert sum(histogram.count_above(100 * NS_PER_MS) for histogram in waited) >= 100


def test_workers_that_join_a_master_share_its_schedule_and_add_up_to_one_verdict(
    start: Start, tmp_path: Path
) -> None:
    server = start("--delay", 0.002)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    master = [*loading(server.url, tmp_path, 60), "--master", "--expect-workers", "2"]
    # Nothing but the file and where the master is: what a worker on another machine is told.
    worker = [*LOCUST, "--worker", "--master-host", "127.0.0.1", "--master-port", port]
    with ExitStack() as running:
        started = []
        for place, command in enumerate(
            (
                [*master, "--master-bind-host", "127.0.0.1", "--master-bind-port", port],
                worker,
                worker,
            )
        ):
            elsewhere = tmp_path / f"machine{place}"
            elsewhere.mkdir()
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=elsewhere
            )
            running.enter_context(process)
            running.callback(process.kill)
            started.append(process)
        for process in started:
            _, said = process.communicate(timeout=120)
            assert process.returncode == 0, said

    result, whole = adds_up(tmp_path, processes=2, sent=180)
    assert whole.histogram.count == 180
    assert [target["metric"] for target in result["targets"]] == ["p95_latency_ms", "error_rate"]
    assert result["targets"][1]["n"] == 180
    assert not any(list((tmp_path / f"machine{place}").iterdir()) for place in range(3))

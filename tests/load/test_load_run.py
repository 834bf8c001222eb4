"""Loads on a double of the service over real sockets, and `dtrag load`."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dtrag_core.bench.clock import NS_PER_MS, precise_loop
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.http_client import Address, HttpClient
from dtrag_core.bench.http_service import SearchService
from dtrag_core.bench.load_results import read_load_result, write_load_result
from dtrag_core.bench.load_run import Target, run_service_load
from dtrag_core.bench.load_settings import LoadSettings
from dtrag_core.bench.results import read_result
from dtrag_core.bench.service_process import Cores, ServiceProcess
from dtrag_core.cli import ExitCode, main
from dtrag_core.errors import MeasuringError, ResultError
from dtrag_core.report.load_page import write_load_report
from dtrag_core.types import no_progress

from .conftest import DOUBLE, Start


def loaded(target: Target, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    settings = LoadSettings(dataset=None, **{"warmup": 0, "cost_seconds": 0, **more})
    return run_service_load(settings, target, no_progress)


def errors(result: Mapping[str, Any]) -> dict[str, int]:
    return {kind: n for stream in result["streams"] for kind, n in stream["errors"].items()}


def test_a_stall_of_the_server_is_charged_to_every_arrival_that_waited(start: Start) -> None:
    """A client that waits for answers would see one slow request, not a hundred."""
    server = start("--stall-at", 1, "--stall", 1)
    result = loaded(Target(url=server.url), rate=100, seconds=3)

    (stream,) = result["streams"]
    assert (stream["sent"], stream["errors"]) == (300, {})
    waited = [Histogram.from_json(part["histogram"]) for part in stream["segments"]]
    assert Histogram.merge(waited).count_above(100 * NS_PER_MS) >= 70
    assert Histogram.merge(waited).sum >= 30 * 1_000 * NS_PER_MS
    p95, errors_ = result["targets"]
    assert p95["verdict"] == "INCONCLUSIVE"  # 300 do not carry a P95
    assert errors_["value"] == 0


def test_a_started_service_is_pinned_watched_and_reported(tmp_path: Path) -> None:
    command = [*DOUBLE, "--delay", "0.02", "--queue", "3"]
    result = loaded(
        Target(command), rate=100, seconds=2, mix="mixed", scenario="spike", cost_seconds=0.3
    )

    names = [stream["name"] for stream in result["streams"]]
    assert names == ["unique", "zipf", "filtered", "batch"]
    assert set(errors(result)) == {"refused_503"}
    assert result["service"]["started"] is True
    assert min(result["service"]["usage"]["resident_bytes"]) > 2**20
    cores = result["service"]["cores"]
    assert cores["apart"] is (cores["service"] != cores["generator"])
    cost = result["http_cost"]
    interval = cost["share_interval"]
    assert interval["ci_low"] <= cost["share"] == interval["value"] <= interval["ci_high"]
    rates = [cost[side]["closed_rate"] for side in ("service", "noop")]
    assert cost["share"] == pytest.approx(rates[0] / rates[1], rel=0.5)  # turns, and their sum
    assert cost["noop"]["open"]["failed"] == 0
    path = write_load_result(result, tmp_path)
    assert read_load_result(tmp_path) == json.loads(path.read_text())
    page = write_load_report(read_load_result(tmp_path), tmp_path).read_text()
    assert "<script" not in page
    for text in (
        "refused_503",
        "filtered",
        "resident memory",
        "latency-over-time",
        "open loop",
        "The cost of HTTP",
    ):
        assert text in page, text
    with pytest.raises(ResultError, match="kind 'load'"):
        read_result(tmp_path)


def test_steps_stop_where_the_service_breaks(start: Start) -> None:
    server = start("--delay", 0.02)
    result = loaded(Target(url=server.url), rate=100, seconds=4, scenario="steps")

    steps = result["steps"]
    assert steps["held"] is None or steps["held"] <= 60
    assert steps["broke"] is not None
    assert result["streams"][0]["abandoned"] is True
    assert result["targets"] == []


def test_a_service_that_ends_says_what_it_said(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("import sys; sys.exit('no index here')")
    with pytest.raises(MeasuringError, match="ended with 1 before it was ready: no index here"):
        loaded(Target([DOUBLE[0], str(script)]), rate=10, seconds=1)


def test_a_process_that_ended_has_no_usage(double: ServiceProcess) -> None:
    assert double.usage().descriptors > 3
    with ServiceProcess(DOUBLE) as other:
        assert other.usage().resident > 2**20
        os.kill(other.pid, signal.SIGKILL)
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(MeasuringError, match="ended with -9 under load"):
            other.usage()


def test_cores_are_split_where_there_are_two() -> None:
    assert Cores.split(1, [0, 1]) == Cores((0,), (1,))
    assert Cores.split(2, [4, 5, 6]) == Cores((4, 5), (6,))
    assert Cores.split(8, [0, 1]) == Cores((0,), (1,))
    assert not Cores.split(1, [3]).apart


def test_answers_of_another_mode_are_not_those_measured(double: ServiceProcess) -> None:
    async def send() -> None:
        async with HttpClient(Address.of(double.url)) as client:
            service = SearchService(client, {}, mode="legacy")
            await service(service.prepared("/search", [b'{"query": "x"}'])[0])

    with (
        asyncio.Runner(loop_factory=precise_loop) as runner,
        pytest.raises(MeasuringError, match="asked for legacy, ran optimized"),
    ):
        runner.run(send())


def test_the_command_writes_result_and_page(
    double: ServiceProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["load", "--url", double.url, "--rate", "60", "--seconds", "1", "--out", str(tmp_path)]

    assert main([*asked, "--gate"]) == ExitCode.TARGET_OPEN
    said = capsys.readouterr().out
    assert "P95 latency" in said
    assert "unique" in said
    (result,) = tmp_path.glob("load-*/result.json")
    assert (result.parent / "report.html").exists()

    assert main(["load", "--url", double.url, "--workers", "2"]) == ExitCode.USAGE
    assert main(["load", "--url", double.url, "--mix", "odd"]) == ExitCode.USAGE
    assert (
        "unknown mix 'odd'; known: batch, filtered, mixed, unique, zipf" in capsys.readouterr().err
    )

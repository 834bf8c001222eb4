"""`dtrag scaling`, and what becomes of its result."""

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dtrag_core.bench.scaling.growth import fits, ratios
from dtrag_core.bench.scaling.plan import SCALING_ARMS
from dtrag_core.bench.scaling.results import read_scaling_result, write_scaling_result
from dtrag_core.cli import ExitCode, main
from dtrag_core.cli.scaling import scaling_text
from dtrag_core.errors import ResultError
from dtrag_core.report import figures_scaling

Dtrag = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a short run over the smallest corpus."""
    folder = tmp_path_factory.mktemp("scaling")
    asked = ["scaling", "--sizes", "10000", "--queries", "40", "--out", str(folder / "reports")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DTRAG_HOME", str(folder / "home"))
        assert main(asked) == ExitCode.DONE
    (file,) = folder.glob("reports/*/scaling.json")
    return file


@pytest.fixture(scope="module")
def result(kept: Path) -> dict[str, Any]:
    return read_scaling_result(kept)


@pytest.fixture(scope="module")
def larger(result: dict[str, Any]) -> dict[str, Any]:
    """The same as if three sizes had been measured, each ten times slower than the last."""
    made = copy.deepcopy(result)
    for step in (10, 100):
        size = copy.deepcopy(result["sizes"][0])
        size["chunks"] *= step
        for arm in SCALING_ARMS:
            of = size["latency"][arm]
            of["percentiles_ms"] = {
                "p50": of["percentiles_ms"]["p50"] * step,
                "p95": step,
                "p99": None,
            }
        size["build"]["record"]["seconds"] *= step
        size["build"]["measured_now"] = False
        made["sizes"].append(size)
    made["fits"], made["ratios"] = fits(made["sizes"]), ratios(made["sizes"])
    return made


def test_measures_every_part_of_a_size(result: dict[str, Any]) -> None:
    (size,) = result["sizes"]

    assert size["chunks"] == 10_000
    assert size["build"]["measured_now"]
    assert size["build"]["record"]["seconds"] > 0
    assert {arm: of["n"] for arm, of in size["latency"].items()} == dict.fromkeys(SCALING_ARMS, 120)
    assert all(of["percentiles_ms"]["p95"] is None for of in size["latency"].values())
    assert size["opening"]["first_answer_s"] >= size["opening"]["ready_s"] > 0
    assert len(size["opening"]["warm"]) == 3
    for path in ("legacy", "optimized"):
        memory, steps = size["memory"][path], size["steps"][path]
        assert memory["bytes"] == sum(memory["parts"].values())
        assert memory["bytes_a_chunk"] == memory["bytes"] / 10_000
        assert sum(steps["share"].values()) == pytest.approx(1)
        assert all(steps["mean_us"][step] > 0 for step in ("embed", "bm25", "vector", "fuse"))
    assert size["memory"]["legacy"]["bytes"] > size["memory"]["optimized"]["bytes"]
    assert size["memory"]["postings"] > 100_000
    assert size["roofline"]["bandwidth_bytes_s"] > 1e8
    assert 0 < size["roofline"]["postings_a_query"]["mean"] < 80_000


def test_one_size_has_no_growth(result: dict[str, Any]) -> None:
    assert set(result["fits"].values()) == {None}
    assert result["ratios"] == []
    assert "Three sizes or more are needed" in scaling_text(result)


def test_growth_is_shown_where_there_is_some(larger: dict[str, Any]) -> None:
    text = scaling_text(larger)

    (line,) = (line for line in text.splitlines() if line.startswith("bm25 p50, ms"))
    assert line.split()[3:] == ["1.00", "1.00", "10.00", "10.00"]
    assert "from the earlier run that built it" in text


def test_every_figure_is_drawn(result: dict[str, Any], larger: dict[str, Any]) -> None:
    draw = (
        figures_scaling.latency,
        figures_scaling.exponents,
        figures_scaling.memory,
        figures_scaling.building,
        figures_scaling.shares,
    )
    for made in (result, larger):
        assert [one(made).svg().count("<svg") for one in draw] == [1] * 5
    said = figures_scaling.latency(larger).svg()
    assert all(text in said for text in ("BM25 leg", "hybrid, optimised", "10k", "1M"))


def test_a_result_is_written_once_and_only_if_it_fits(
    result: dict[str, Any], larger: dict[str, Any], kept: Path, tmp_path: Path
) -> None:
    assert read_scaling_result(write_scaling_result(larger, tmp_path)) == larger
    with pytest.raises(ResultError, match="already holds a result"):
        write_scaling_result(result, kept.parent)
    without = {name: of for name, of in result.items() if name != "fits"}
    with pytest.raises(ResultError, match="'fits' is a required property"):
        write_scaling_result(without, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--sizes", "ten"), "'ten' is no list of whole numbers"),
        (("--sizes", "100,10000"), "10,000 to 10,000,000 chunks, got 100"),
        (("--sizes", "10000,10000"), "each once"),
        (("--queries", 5), "queries must be 20"),
    ],
)
def test_what_cannot_be_measured_is_a_usage_error(
    dtrag: Dtrag, asked: tuple[object, ...], said: str
) -> None:
    ran = dtrag("scaling", *asked)

    assert ran.returncode == ExitCode.USAGE
    assert said in ran.stderr

"""`dtrag compare A B`."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dtrag_core.bench.results import write_result
from dtrag_core.cli import ExitCode

Dtrag = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def runs(build_result: Callable[..., dict[str, Any]], tmp_path: Path) -> dict[str, Path]:
    """Folders of runs: two of the same code, one half as fast, one of another dataset."""
    results = {
        "a": build_result(1),
        "same": build_result(2),
        "slow": build_result(3, slower=2.0),
        "other": build_result(4),
    }
    results["other"]["dataset"]["fingerprint"] = "f" * 64
    for name, result in results.items():
        write_result({**result, "run_id": name}, tmp_path / name)
    return {name: tmp_path / name for name in results}


def test_equal_code_shows_no_significant_difference(dtrag: Dtrag, runs: dict[str, Path]) -> None:
    ran = dtrag("compare", runs["a"], runs["same"] / "result.json")

    assert ran.returncode == 0
    assert ran.stdout.splitlines()[-1] == "no significant difference (Holm, 5 %)"
    assert "differs" not in ran.stdout


def test_a_slow_down_is_named(dtrag: Dtrag, runs: dict[str, Path]) -> None:
    ran = dtrag("compare", runs["a"], runs["slow"])
    listed = json.loads(dtrag("compare", runs["a"], runs["slow"], "--json").stdout)
    differing = [row["metric"] for row in listed["rows"] if row["significant"]]

    assert ran.returncode == 0
    assert listed["different"]
    assert "parallel_speedup" in differing
    assert ran.stdout.splitlines()[-1] == (
        f"significant difference (Holm, 5 %) in: {', '.join(differing)}"
    )


def test_other_data_compare_only_by_force_and_marked(dtrag: Dtrag, runs: dict[str, Path]) -> None:
    refused = dtrag("compare", runs["a"], runs["other"])
    forced = dtrag("compare", runs["a"], runs["other"], "--force")

    assert refused.returncode == ExitCode.ERROR
    assert refused.stdout == ""
    assert "a and other do not compare: dataset/fingerprint: " in refused.stderr
    assert forced.returncode == 0
    assert "FORCED, conditions differ: dataset/fingerprint: " in forced.stdout


def test_a_file_that_is_no_result_is_named(dtrag: Dtrag, runs: dict[str, Path]) -> None:
    torn = runs["a"] / "result.json"
    torn.write_bytes(torn.read_bytes()[:100])

    missing = dtrag("compare", runs["same"], runs["same"].with_name("nowhere"))
    broken = dtrag("compare", runs["same"], torn)

    assert (missing.returncode, broken.returncode) == (ExitCode.ERROR, ExitCode.ERROR)
    assert "nowhere cannot be read" in missing.stderr
    assert f"{torn} is not JSON" in broken.stderr

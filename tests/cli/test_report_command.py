"""`dtrag report`: what is refused before anything runs, and what is printed afterwards."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dtrag_core.bench.results import write_result
from dtrag_core.cli import ExitCode
from dtrag_core.report import run

Dtrag = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def asked(
    monkeypatch: pytest.MonkeyPatch, build_result: Callable[..., dict[str, Any]]
) -> list[Mapping[str, Any]]:
    """The parameters of every notebook run; a finished result takes the place of running it."""
    runs: list[Mapping[str, Any]] = []

    def run_report(parameters: Mapping[str, Any], out: Path, _: object) -> Path:
        runs.append(parameters)
        result = build_result(0)
        result["targets"][1]["verdict"] = "FAIL"
        return write_result(result, out / "the-run").parent

    monkeypatch.setattr(run, "run_report", run_report)
    return runs


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-p", "round=3"], "unknown parameter 'round'; known: capacity_seconds, dataset"),
        (["-p", "rounds=many"], "parameter rounds must be like 50 (int), got 'many'"),
        (["-p", "rounds"], "'rounds' is not of the form NAME=VALUE"),
        (["--rates", "50;100"], "'50;100' is no number in 0.1..1e+06"),
        (["--dataset", "pydoc"], "unknown dataset 'pydoc'; known: beir:DIR"),
        (["--dataset", "synthetic", "--size", "0"], "synthetic"),
    ],
)
def test_what_cannot_be_fails_before_anything_runs(
    dtrag: Dtrag, tmp_path: Path, asked: list[Mapping[str, Any]], options: list[str], said: str
) -> None:
    ran = dtrag("report", "--out", tmp_path / "reports", *options)

    assert ran.returncode == ExitCode.USAGE
    assert said in ran.stderr
    assert not asked
    assert not (tmp_path / "reports").exists()


def test_options_become_parameters_of_the_notebook(
    dtrag: Dtrag, tmp_path: Path, asked: list[Mapping[str, Any]], notes: Path
) -> None:
    options = "--rounds 12 --rates 20,90 --seed 3 -p load_seconds=12.5 -p embedder=lsa"
    dtrag("report", "--out", tmp_path, "--dataset", f"jsonl:{notes}", *options.split())

    assert asked == [
        {
            "dataset": f"jsonl:{notes}",
            "rounds": 12,
            "rates": [20.0, 90.0],
            "seed": 3,
            "load_seconds": 12.5,
            "embedder": "lsa",
        }
    ]


def test_it_ends_with_verdicts_and_the_page(
    dtrag: Dtrag, tmp_path: Path, asked: list[Mapping[str, Any]]
) -> None:
    options = ("--dataset", "synthetic", "--size", "10000", "--out", tmp_path)
    plain = dtrag("report", *options)
    (tmp_path / "the-run" / "result.json").unlink()
    gated = dtrag("report", *options, "--gate")

    assert asked[0] == {"dataset": "synthetic", "size": 10_000}
    assert plain.returncode == ExitCode.DONE
    assert gated.returncode == ExitCode.TARGET_FAILED
    assert plain.stdout.splitlines()[-1] == f"report: {tmp_path / 'the-run' / 'report.html'}"
    assert "FAIL" in plain.stdout

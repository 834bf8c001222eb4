"""`dtrag bench`: what it prints, keeps, and exits with."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dtrag_core import workbench
from dtrag_core.bench.results import read_result
from dtrag_core.bench.settings import MeasureSettings
from dtrag_core.cli import ExitCode
from dtrag_core.report.formats import NOTHING

Dtrag = Callable[..., subprocess.CompletedProcess[str]]
Build = Callable[..., dict[str, Any]]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, build_result: Build) -> dict[str, Any]:
    """A finished measurement, given back in place of minutes of measuring."""
    result = build_result(0)
    calls: list[MeasureSettings] = []

    def measure(
        dataset: str, embedder: str | None, settings: MeasureSettings, **_: object
    ) -> dict[str, Any]:
        calls.append(settings)
        return result

    monkeypatch.setattr(workbench, "measure", measure)
    return {"result": result, "calls": calls}


def with_verdicts(result: dict[str, Any], *verdicts: str) -> None:
    for target, verdict in zip(result["targets"], [*verdicts, *["PASS"] * 6], strict=False):
        target["verdict"] = verdict


@pytest.mark.parametrize(
    ("verdicts", "gated"),
    [
        ((), 0),
        (("INCONCLUSIVE",), 11),
        (("FAIL",), 10),
        (("INCONCLUSIVE", "PASS", "FAIL"), 10),
    ],
)
def test_verdicts_decide_the_exit_code_only_at_the_gate(
    dtrag: Dtrag, measured: dict[str, Any], tmp_path: Path, verdicts: tuple[str, ...], gated: int
) -> None:
    with_verdicts(measured["result"], *verdicts)

    plain = dtrag("bench", "--dataset", "pydocs", "--out", tmp_path / "a")
    at_gate = dtrag("bench", "--dataset", "pydocs", "--out", tmp_path / "b", "--gate")

    assert plain.returncode == 0
    assert at_gate.returncode == gated
    assert plain.stdout.splitlines()[:-1] == at_gate.stdout.splitlines()[:-1]


def test_the_table_says_what_the_result_says_and_the_result_is_kept(
    dtrag: Dtrag, measured: dict[str, Any], tmp_path: Path
) -> None:
    result = measured["result"]
    with_verdicts(result, "INCONCLUSIVE")
    result["targets"][0] |= {"value": 41.25, "ci_low": None, "ci_high": None, "reason": "too few"}

    ran = dtrag("bench", "--dataset", "pydocs", "--out", tmp_path)

    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("P95 latency")]
    assert line.split() == f"P95 latency <= 100 ms 41.25 ms {NOTHING} INCONCLUSIVE too few".split()
    assert sum(ran.stdout.count(verdict) for verdict in ("PASS", "FAIL", "INCONCLUSIVE")) == 6
    path = tmp_path / result["run_id"] / "result.json"
    assert ran.stdout.splitlines()[-1] == f"result: {path}"
    assert read_result(path)["targets"] == result["targets"]


def test_json_is_the_result_and_nothing_else(
    dtrag: Dtrag, measured: dict[str, Any], tmp_path: Path
) -> None:
    ran = dtrag("bench", "--dataset", "pydocs", "--out", tmp_path, "--json")

    assert json.loads(ran.stdout) == read_result(tmp_path / measured["result"]["run_id"])


def test_options_reach_the_measurement(
    dtrag: Dtrag, measured: dict[str, Any], tmp_path: Path
) -> None:
    options = (
        "--rounds 9 --processes 3 --rates 20,80 --load-seconds 5 --capacity-seconds 6 --seed 4"
    )
    dtrag("bench", "--dataset", "pydocs", "--out", tmp_path, *options.split())

    assert measured["calls"] == [
        MeasureSettings(
            rounds=9,
            processes=3,
            rates=(20.0, 80.0),
            load_seconds=5.0,
            capacity_seconds=6.0,
            seed=4,
        )
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rounds", "4", "--processes", "3"], "4 rounds are too few for 3 processes"),
        (["--rates", "50,0"], "'0' is no number in 0.1..1e+06"),
        (["--rates", "nan"], "'nan' is no number in"),
        (["--load-seconds", "inf"], "'inf' is no number in 1..86400"),
        (["--seed", "-1"], "'-1' is no whole number from 0 up"),
        (["--k1", "nan"], "'nan' is no number in 0..100"),
        (["--b", "7"], "'7' is no number in 0..1"),
        (["--only", "quality", "--gate"], "--gate needs all six targets"),
    ],
)
def test_impossible_settings_fail_before_anything_runs(
    dtrag: Dtrag, measured: dict[str, Any], tmp_path: Path, options: list[str], said: str
) -> None:
    ran = dtrag("bench", "--dataset", "pydocs", "--out", tmp_path, *options)

    assert ran.returncode == ExitCode.USAGE
    assert said in ran.stderr
    assert not measured["calls"]


def test_quality_of_precomputed_vectors_is_as_published(dtrag: Dtrag, scifact: Path) -> None:
    spec = ("--dataset", f"beir:{scifact}", "--embedder", f"precomputed:{scifact}/minilm-l6-v2.npz")

    ran = dtrag("bench", *spec, "--only", "quality", "--json")

    assert ran.returncode == 0, ran.stderr
    quality = json.loads(ran.stdout)["quality"]
    ndcg = {name: each["ndcg_at_10"] for name, each in quality["judged"]["methods"].items()}
    # Figures of ../shared/data/README.md and the depth of 50 beside them.
    assert ndcg["bm25"] == pytest.approx(0.679, abs=0.005)
    assert ndcg["vector"] == pytest.approx(0.647, abs=0.005)
    assert ndcg["weighted"] == pytest.approx(0.738, abs=0.005)
    assert ndcg["rrf"] == pytest.approx(0.712, abs=0.005)
    assert quality["optimized_vs_legacy"]["overlap_at_10"] >= 0.99
    assert quality["optimized_vs_legacy"]["equal"]


def test_quality_alone_in_words(dtrag: Dtrag, notes: Path, tmp_path: Path) -> None:
    file = tmp_path / "notes.jsonl"
    texts = [" ".join(f"word{n * k}" for k in range(1, 41)) for n in range(1, 301)]
    filler = [json.dumps({"text": text}) for text in texts]
    file.write_text("\n".join([notes.read_text(), *filler]), encoding="utf-8")
    queries = [
        {"id": "a", "text": "small brown bird"},
        {"id": "b", "text": "predator of lakes"},
        {"id": "c", "text": "fragrant herb"},
    ]
    lines = "\n".join(map(json.dumps, queries))
    file.with_suffix(".queries.jsonl").write_text(lines, encoding="utf-8")
    judged = "a\t1\t1\ttest\nb\t3\t1\ttest\nc\t7\t1\ttrain\n"
    file.with_suffix(".qrels.tsv").write_text(judged, encoding="utf-8")

    ran = dtrag("bench", "--dataset", f"jsonl:{file}", "--only", "quality")

    assert ran.returncode == 0, ran.stderr
    assert "2 judged queries" in ran.stdout
    assert "overlap@10" in ran.stdout
    assert [line.split()[0] for line in ran.stdout.splitlines()[1:5]] == [
        "bm25",
        "vector",
        "weighted",
        "rrf",
    ]

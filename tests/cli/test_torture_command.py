"""`dtrag torture`: kills, then a soak of the service; what kills do is tested in tests/bench."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dtrag_core.cli import ExitCode

Dtrag = Callable[..., subprocess.CompletedProcess[str]]


def test_a_soak_comes_to_a_verdict(dtrag: Dtrag, notes: Path) -> None:
    asked = ("--kills", "0", "--soak", "0.2", "--dataset", f"jsonl:{notes}", "--json")
    done = dtrag("torture", *asked)
    told = json.loads(done.stdout)
    assert told["kills"] is None
    assert told["soak"]["load"]["sent"] == 600  # 12 s of 50/s
    assert set(told["soak"]["slopes"]) >= {"resident_bytes", "descriptors", "median_ns"}
    # On a busy machine something may move in twelve seconds: then the command has to say so.
    assert told["ok"] == (not told["soak"]["complaints"])
    assert done.returncode == (ExitCode.DONE if told["ok"] else ExitCode.ERROR)


def test_a_service_that_does_not_start_fails_the_soak(
    dtrag: Dtrag, notes: Path, tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("no folder, so that no index can be kept")
    asked = ("--kills", "0", "--soak", "0.2", "--dataset", f"jsonl:{notes}")
    done = dtrag("torture", *asked)
    assert done.returncode == ExitCode.ERROR
    assert "before it was ready" in done.stdout
    assert done.stdout.endswith("verdict: FAIL (soak)\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--kills", "0", "--soak", "0"), "nothing to do"),
        (("--soak", "0.1"), "--soak 0.1 is too short"),
        (("--dataset", "nowhere:1"), "nowhere"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_first_kill(
    dtrag: Dtrag, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    refused = dtrag("torture", "--dir", tmp_path / "work", *options)
    assert refused.returncode == ExitCode.USAGE
    assert said in refused.stderr
    assert not (tmp_path / "work").exists()


def test_a_folder_with_files_is_left_alone(dtrag: Dtrag, notes: Path) -> None:
    refused = dtrag("torture", "--soak", "0", "--dir", notes.parent)
    assert refused.returncode == ExitCode.USAGE
    assert "not empty" in refused.stderr
    assert notes.exists()

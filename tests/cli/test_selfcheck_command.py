"""`dtrag selfcheck`."""

import json
import subprocess
from collections.abc import Callable

import pytest

from dtrag_core.bench import selfcheck
from dtrag_core.bench.claims import Claim, SelfcheckReport
from dtrag_core.cli import ExitCode

Dtrag = Callable[..., subprocess.CompletedProcess[str]]


def test_trials_run_and_are_listed(dtrag: Dtrag) -> None:
    ran = dtrag("selfcheck", "--only", "trials", "--trials", "4", "--json")

    found = json.loads(ran.stdout)
    assert set(found) == {"trials", "ok"}
    assert len(found["trials"]["lines"]) > 5
    assert all(line["ok"] == found["ok"] or line["ok"] for line in found["trials"]["lines"])
    assert ran.returncode == (ExitCode.DONE if found["ok"] else ExitCode.ERROR)


def test_a_claim_that_does_not_hold_is_an_error(
    dtrag: Dtrag, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (Claim("the sky is blue", 0.9, 0.5, "at_least"), Claim("2 is 1", 2.0, 1.0, "at_most"))
    monkeypatch.setattr(selfcheck, "run_selfcheck", lambda _: SelfcheckReport(lines, 1.0))

    ran = dtrag("selfcheck", "--only", "real")

    assert ran.returncode == ExitCode.ERROR
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert ["0.9", ">=", "0.5", "yes", "the", "sky", "is", "blue"] in rows
    assert ["2", "<=", "1", "NO", "2", "is", "1"] in rows
    assert "1 of 2 claims hold" in ran.stdout


def test_no_trials_are_no_check(dtrag: Dtrag) -> None:
    ran = dtrag("selfcheck", "--trials", "0")

    assert ran.returncode == ExitCode.USAGE
    assert "--trials must be at least 1, got 0" in ran.stderr

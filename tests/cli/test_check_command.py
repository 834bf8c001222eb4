"""`dtrag check`: everything is there, and what is not is found."""

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrag_core.cli import ExitCode
from dtrag_core.optimization.memory_optimizer import EmbeddingQuantizer
from dtrag_core.search.dao import SearchDAO

Dtrag = Callable[..., subprocess.CompletedProcess[str]]
SCRIPT = Path(__file__).parents[1] / "verification" / "quick_optimization_check.py"


def failing(ran: subprocess.CompletedProcess[str]) -> dict[str, str]:
    items = json.loads(ran.stdout)["items"]
    return {item["what"]: item["problem"] for item in items if not item["ok"]}


def test_the_script_and_the_command_find_everything_in_place(dtrag: Dtrag) -> None:
    command = dtrag("check")
    script = subprocess.run(
        [sys.executable, str(SCRIPT), "--json"], capture_output=True, text=True, check=True
    )

    assert command.returncode == 0
    assert "FAIL" not in command.stdout
    items = json.loads(script.stdout)["items"]
    assert all(item["ok"] for item in items)
    assert {item["id"] for item in items} >= {
        "T",
        *("A1", "A2", "A3"),
        *("M1", "M2", "M5"),
        *("C1", "C2", "C4", "C5", "B1", "B2"),
        *("I1", "I2", "I3", "I7", "I8"),
    }


def test_a_changed_signature_is_found(dtrag: Dtrag, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(SearchDAO, "_execute_legacy_hybrid_search")
    whole = inspect.signature(EmbeddingQuantizer.dequantize_embedding)
    renamed = whole.replace(parameters=list(whole.parameters.values())[:2])
    monkeypatch.setattr(
        EmbeddingQuantizer.dequantize_embedding, "__signature__", renamed, raising=False
    )

    ran = dtrag("check", "--json")

    assert ran.returncode == ExitCode.ERROR
    problems = failing(ran)
    assert problems["EmbeddingQuantizer.dequantize_embedding(codes, metadata)"] == (
        "its signature is '(codes)', expected '(codes, metadata)'"
    )
    assert "SearchDAO._execute_legacy_hybrid_search(session, request)" in problems


def test_codes_that_are_cut_off_instead_of_rounded_are_found(
    dtrag: Dtrag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "rint", np.trunc)

    ran = dtrag("check")

    assert ran.returncode == ExitCode.ERROR
    (line,) = [line for line in ran.stdout.splitlines() if "half a step at the most" in line]
    assert line.startswith("M1    FAIL")


def test_a_path_that_runs_as_the_other_is_found(
    dtrag: Dtrag, monkeypatch: pytest.MonkeyPatch
) -> None:
    legacy: Any = SearchDAO._execute_legacy_hybrid_search
    monkeypatch.setattr(SearchDAO, "_execute_optimized_hybrid_search", legacy)

    problems = failing(dtrag("check", "--json"))

    assert "('legacy'" in problems["legacy and optimised search a real index and agree"]

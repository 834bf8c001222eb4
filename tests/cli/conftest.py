"""A small real corpus, its index, and example results, for the command."""

import json
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dtrag_core.cli import main

CORPUS = (
    ("animals/birds", "note", "Wren", "A very small brown bird that sings from low hedges."),
    ("animals/birds", "note", "Heron", "It stands in shallow water and waits for fish and frogs."),
    ("animals/fish", "note", "Pike", "A long predator of lakes and slow rivers with sharp teeth."),
    ("animals/fish", "letter", "Salmon", "It leaves the sea and climbs rivers to spawn."),
    ("plants/trees", "note", "Oak", "Jays bury the acorns of this broad tree in autumn."),
    ("plants/trees", "note", "Birch", "White bark peels off in strips and burns well when wet."),
    ("plants/herbs", "letter", "Thyme", "A fragrant herb of dry slopes, used fresh in cooking."),
    ("plants/herbs", "note", "Mint", "Spreads by runners in damp soil; the leaves flavour tea."),
)


Completed = subprocess.CompletedProcess[str]


@pytest.fixture
def dtrag(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Completed]:
    """Run the command in this process, with everything it keeps in a folder of the test's own."""
    monkeypatch.setenv("DTRAG_HOME", str(tmp_path / "home"))

    def run(*arguments: object) -> Completed:
        capsys.readouterr()
        command = [str(argument) for argument in arguments]
        try:
            code = main(command)
        except SystemExit as left:
            code = int(left.code or 0)
        return subprocess.CompletedProcess(command, code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus as a file, shared by tests that only read it."""
    return write_corpus(tmp_path_factory.mktemp("notes") / "notes.jsonl")


@pytest.fixture(scope="session")
def index(notes: Path) -> Path:
    """The index of the corpus, shared by tests that only read it."""
    folder = notes.with_name("index")
    assert main(["index", "build", "--dataset", f"jsonl:{notes}", "--out", str(folder)]) == 0
    return folder


def write_corpus(file: Path) -> Path:
    names = ("path", "doc_type", "title", "text")
    lines = [json.dumps(dict(zip(names, chunk, strict=True))) for chunk in CORPUS]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def build_result() -> Callable[..., dict[str, Any]]:
    """The factory of schema-valid results that the tests of `bench` use."""
    helpers = runpy.run_path(str(Path(__file__).parents[1] / "bench" / "conftest.py"))
    factory: Callable[..., dict[str, Any]] = helpers["build_result"]
    return factory

"""Progress crosses from a kernel to the command that started it, and is a bar without one."""

import io
from pathlib import Path

import pytest

from dtrag_core.report.progress import (
    VARIABLE,
    BarProgress,
    FileProgress,
    following,
    notebook_progress,
)

Notes = list[tuple[str, int, int | None]]


def test_every_note_arrives_in_order(tmp_path: Path) -> None:
    notes: Notes = []
    sent: Notes = [("load \n at 50/s", 1, None), ("rounds", 1, 50), ("rounds", 2, 50)]

    def note(stage: str, done: int, total: int | None) -> None:
        notes.append((stage, done, total))

    with following(tmp_path / "progress", note):
        report = FileProgress(tmp_path / "progress")
        for one in sent:
            report(*one)

    assert notes == sent


def test_half_a_line_is_not_a_note(tmp_path: Path) -> None:
    notes: Notes = []
    path = tmp_path / "progress"

    def note(stage: str, done: int, total: int | None) -> None:
        notes.append((stage, done, total))

    with following(path, note), path.open("a") as file:
        file.write('["whole", 1, 2]\n["ha')

    assert notes == [("whole", 1, 2)]


def test_a_notebook_reports_to_the_file_it_is_given_else_shows_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert isinstance(notebook_progress(), BarProgress)

    monkeypatch.setenv(VARIABLE, str(tmp_path / "progress"))
    notebook_progress()("stage", 1, None)
    assert (tmp_path / "progress").read_text() == '["stage", 1, null]\n'


def test_a_bar_a_stage() -> None:
    shown = io.StringIO()
    bar = BarProgress(shown)

    bar("rounds", 1, 2)
    bar("rounds", 2, 2)
    bar("load", 3, None)
    bar.close()

    assert "rounds: 100%" in shown.getvalue()
    assert "load: 3it" in shown.getvalue()

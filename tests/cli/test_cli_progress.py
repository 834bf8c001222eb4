"""What a person, or a log, sees of a long job."""

import io

import pytest

from dtrag_core.cli.progress import Lines, shown_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_a_stage_and_one_every_ten_seconds() -> None:
    now = [100.0]
    log = io.StringIO()
    lines = Lines(log, clock=lambda: now[0])
    told = [
        (1.0, "indexing", 5, 100),
        (3.0, "indexing", 10, 100),
        (4.0, "indexing", 20, 100),
        (12.9, "indexing", 30, 100),
        (13.0, "indexing", 1_040, 2_000),
        (13.1, "fitting", 0, None),
        (13.2, "fitting", 0, None),
    ]

    for seconds, stage, done, total in told:
        now[0] = 100.0 + seconds
        lines(stage, done, total)

    assert log.getvalue().splitlines() == [
        "    3 s  indexing 10/100, 2/s, 36 s left",
        "   13 s  indexing 1,040/2,000, 86/s, 11 s left",
        "   13 s  fitting",
    ]


def test_a_terminal_gets_a_bar_a_stage_and_a_clean_line_afterwards() -> None:
    terminal = Terminal()

    with shown_progress(terminal) as progress:
        progress("indexing", 50, 100)
        progress("fitting", 0, None)
        during = terminal.getvalue()

    assert "indexing:" in during
    assert "fitting [" in during
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().rstrip("\r").rsplit("\r", 1)[-1].strip() == ""


def test_a_job_that_fails_leaves_no_bar_behind() -> None:
    terminal = Terminal()

    def fail() -> None:
        with shown_progress(terminal) as progress:
            progress("indexing", 50, 100)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert terminal.getvalue().rstrip("\r").rsplit("\r", 1)[-1].strip() == ""

"""One picture of a run's verdicts, for a README."""

import sys
from pathlib import Path
from typing import Any

import pytest

from dtrag_core.bench.results import write_result
from dtrag_core.report.picture import main, picture


def test_it_shows_every_verdict(example: dict[str, Any]) -> None:
    svg = picture(example).svg()

    for text in ("4 PASS, 1 FAIL, 1 INCONCLUSIVE", "71.80 %", "INCONCLUSIVE", "adding int8"):
        assert text in svg


def test_the_command_draws_from_a_file(
    example: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_result(example, tmp_path)
    monkeypatch.setattr(sys, "argv", ["picture", str(tmp_path), str(tmp_path / "top.png")])

    main()

    assert (tmp_path / "top.png").read_bytes().startswith(b"\x89PNG")


def test_another_kind_of_picture_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["picture", str(tmp_path), "top.jpg"])

    with pytest.raises(SystemExit):
        main()

    assert "not '.jpg'" in capsys.readouterr().err

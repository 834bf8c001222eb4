"""The report notebook run from outside: whole folders or none, and no surprises."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from dtrag_core.errors import InvalidRequestError, MeasuringError
from dtrag_core.report.run import check_parameters, find_notebook, known_parameters, run_report

PARAMETERS = """\
rounds = 3
rates = [50.0]
share = 0.5
size = None  # any
problem = ""
out = "nowhere"
"""
WORK = """\
import sys
from pathlib import Path
from dtrag_core.report.progress import notebook_progress
progress = notebook_progress()
for done in range(rounds):
    progress("measuring", done + 1, rounds)
if problem:
    raise ValueError(problem)
folder = Path(out) / "run-1"
folder.mkdir(parents=True)
(folder / "result.json").write_text("{}")
print("interpreter", sys.executable)
"""
HANGS = """\
from dtrag_core.report.progress import notebook_progress
import os, threading
notebook_progress()(f"{os.getpid()}", 0, None)
threading.Event().wait()
"""
RUN = """\
import sys
from pathlib import Path
from dtrag_core.report.run import run_report
def tell(stage, done, total):
    print(stage, flush=True)
try:
    run_report({}, Path(sys.argv[1]), tell, Path(sys.argv[2]))
except KeyboardInterrupt:
    sys.exit(130)
"""


def notebook(path: Path, body: str) -> Path:
    parameters = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    made = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(body)])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "-", "language": "python"}
    path.write_text(nbformat.writes(made), encoding="utf-8")
    return path


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_a_run_leaves_one_folder_with_everything(tmp_path: Path) -> None:
    notes: list[tuple[str, int, int | None]] = []
    out = tmp_path / "reports"

    def note(stage: str, done: int, total: int | None) -> None:
        notes.append((stage, done, total))

    folder = run_report({"rounds": 4}, out, note, notebook(tmp_path / "tiny.ipynb", WORK))

    assert folder == out / "run-1"
    assert entries(out) == ["run-1"]
    assert entries(folder) == ["result.json", "tiny.ipynb"]
    assert notes == [("measuring", done, 4) for done in (1, 2, 3, 4)]
    executed = (folder / "tiny.ipynb").read_text(encoding="utf-8")
    assert "rounds = 4" in executed
    assert ".running" not in executed


def test_the_kernel_is_this_interpreter_whatever_the_user_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rogue = tmp_path / "jupyter" / "kernels" / "python3"
    rogue.mkdir(parents=True)
    (rogue / "kernel.json").write_text(
        '{"argv": ["false"], "display_name": "x", "language": "python"}'
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))

    folder = run_report({}, tmp_path / "out", notebook=notebook(tmp_path / "tiny.ipynb", WORK))

    assert f"interpreter {sys.executable}" in (folder / "tiny.ipynb").read_text(encoding="utf-8")


def test_a_failing_cell_is_told_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "reports"
    earlier = out / "earlier"
    earlier.mkdir(parents=True)

    with pytest.raises(MeasuringError, match="ValueError: no luck") as caught:
        run_report({"problem": "no luck"}, out, notebook=notebook(tmp_path / "tiny.ipynb", WORK))

    assert "\n" not in str(caught.value)
    assert entries(out) == ["earlier"]


def test_a_kernel_that_dies_is_told_apart_from_a_failing_cell(tmp_path: Path) -> None:
    dies = "import os; os.write(2, b'out of memory'); os._exit(1)"

    with pytest.raises(MeasuringError, match=r"kernel died.*it said: .*out of memory"):
        run_report({}, tmp_path / "out", notebook=notebook(tmp_path / "dies.ipynb", dies))

    assert entries(tmp_path / "out") == []


def test_a_run_never_writes_over_another(tmp_path: Path) -> None:
    tiny = notebook(tmp_path / "tiny.ipynb", WORK)
    first = run_report({}, tmp_path, notebook=tiny)
    before = (first / "tiny.ipynb").read_bytes()

    with pytest.raises(MeasuringError, match=r"run-1 is there already"):
        run_report({"rounds": 1}, tmp_path, notebook=tiny)

    assert (first / "tiny.ipynb").read_bytes() == before


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"round": 3}, "unknown parameter 'round'; known: out, problem, rates, rounds"),
        ({"rounds": "3"}, "rounds must be like 3 .*, got '3'"),
        ({"rounds": True}, "rounds must be like 3 .*, got True"),
        ({"rates": 50.0}, r"rates must be like \[50.0\] .*, got 50.0"),
    ],
)
def test_bad_parameters_stop_before_anything_runs(
    tmp_path: Path, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        run_report(parameters, tmp_path / "out", notebook=notebook(tmp_path / "t.ipynb", WORK))

    assert not (tmp_path / "out").exists()


def test_a_float_may_be_given_whole_and_none_takes_anything() -> None:
    known = {"share": 0.5, "size": None}

    check_parameters({"share": 1, "size": 10}, known)
    check_parameters({"size": "many"}, known)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_keeps_earlier_reports_and_is_swept(
    tmp_path: Path, how: signal.Signals
) -> None:
    out = tmp_path / "reports"
    (out / "earlier").mkdir(parents=True)
    hangs = notebook(tmp_path / "hangs.ipynb", HANGS)
    running = subprocess.Popen(
        [sys.executable, "-c", RUN, str(out), str(hangs)], stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    with running, running.stdout:
        kernel = int(running.stdout.readline())
        os.kill(running.pid, how)
        status = running.wait(timeout=60)

    assert status in (130, -how)
    if how is signal.SIGINT:
        assert entries(out) == ["earlier"]
        with pytest.raises(ProcessLookupError):
            os.kill(kernel, 0)
    run_report({}, out, notebook=notebook(tmp_path / "tiny.ipynb", WORK))
    assert entries(out) == ["earlier", "run-1"]


def test_a_run_that_still_goes_on_is_not_swept(tmp_path: Path) -> None:
    hangs = notebook(tmp_path / "hangs.ipynb", HANGS)
    running = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path / "out"), str(hangs)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    with running, running.stdout:
        running.stdout.readline()
        run_report({}, tmp_path / "out", notebook=notebook(tmp_path / "tiny.ipynb", WORK))
        left = entries(tmp_path / "out")
        running.send_signal(signal.SIGINT)
        running.wait(timeout=60)

    assert len(left) == 2
    assert left[0].endswith(".running")
    assert entries(tmp_path / "out") == ["run-1"]


def test_the_report_notebook_has_the_parameters_the_command_sets() -> None:
    known = known_parameters(find_notebook())

    assert {"dataset", "size", "embedder", "rounds", "rates", "seed", "out"} <= set(known)
    check_parameters({"dataset": "synthetic", "size": 100, "rates": [20.0], "rounds": 4}, known)


def test_a_notebook_nobody_ships_is_named() -> None:
    with pytest.raises(InvalidRequestError, match=r"no notebook 'other\.ipynb'"):
        find_notebook("other.ipynb")

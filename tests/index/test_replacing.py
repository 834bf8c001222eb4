"""A directory is replaced as a whole, whatever interrupts."""

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dtrag_core.errors import BuildError
from dtrag_core.index.replacing import replacing


def write(directory: Path, text: str) -> None:
    with replacing(directory) as fresh:
        (fresh / "content").write_text(text)


def write_half(directory: Path, interruption: type[BaseException]) -> None:
    with replacing(directory) as fresh:
        (fresh / "content").write_text("half")
        raise interruption


def leftovers(directory: Path) -> list[str]:
    return [p.name for p in directory.parent.iterdir() if p.is_dir() and p != directory]


def test_replaces(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "index"
    write(target, "old")
    write(target, "new")
    assert (target / "content").read_text() == "new"
    assert leftovers(target) == []


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_what_was_there(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    target = tmp_path / "index"
    write(target, "old")
    with pytest.raises(interruption):
        write_half(target, interruption)
    assert (target / "content").read_text() == "old"
    assert leftovers(target) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path) -> None:
    target = tmp_path / "index"
    write(target, "old")
    with (
        pytest.raises(BuildError, match="disk is full"),
        replacing(target),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x")
    assert (target / "content").read_text() == "old"


def test_other_system_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), replacing(tmp_path / "index"):
        raise PermissionError(errno.EACCES, "no")


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from dtrag_core.index.replacing import replacing
with replacing(Path(sys.argv[1])) as fresh:
    (fresh / "content").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "index"
    write(target, "old")
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(target)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (target / "content").read_text() == "old"
    write(target, "new")
    assert (target / "content").read_text() == "new"
    assert leftovers(target) == []


def test_kill_between_the_two_renames_is_undone(tmp_path: Path) -> None:
    target = tmp_path / "index"
    write(target, "old")
    target.rename(tmp_path / ".index.previous")
    with pytest.raises(KeyboardInterrupt):
        write_half(target, KeyboardInterrupt)
    assert (target / "content").read_text() == "old"


def test_two_builders_of_one_directory_do_not_mix(tmp_path: Path) -> None:
    target = tmp_path / "index"
    with replacing(target) as fresh:
        with pytest.raises(BuildError, match="another process"):
            write(target, "second")
        (fresh / "content").write_text("first")
    assert (target / "content").read_text() == "first"

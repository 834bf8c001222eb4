"""A directory is replaced as a whole, whatever interrupts."""

import ctypes
import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dtrag_core.errors import BuildError
from dtrag_core.index.replacing import recover, replacing


def write(directory: Path, text: str) -> None:
    with replacing(directory, "plan") as fresh:
        (fresh / "content").write_text(text)


def write_half(directory: Path, interruption: type[BaseException]) -> None:
    with replacing(directory, "plan") as fresh:
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


def test_an_exception_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "index"
    write(target, "old")
    with pytest.raises(ValueError, match=r"^$"):
        write_half(target, ValueError)
    assert (target / "content").read_text() == "old"
    assert leftovers(target) == []


def test_what_an_interrupted_build_made_is_there_for_the_same_plan_only(tmp_path: Path) -> None:
    target = tmp_path / "index"
    write(target, "old")
    with pytest.raises(KeyboardInterrupt):
        write_half(target, KeyboardInterrupt)
    assert (target / "content").read_text() == "old"
    with replacing(target, "plan") as fresh:
        assert (fresh / "content").read_text() == "half"
        (fresh / "content").write_text("whole")
    assert sorted(path.name for path in target.iterdir()) == ["content"]
    assert (target / "content").read_text() == "whole"
    with pytest.raises(KeyboardInterrupt):
        write_half(target, KeyboardInterrupt)
    with replacing(target, "another plan") as fresh:
        assert not (fresh / "content").exists()
    assert leftovers(target) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path) -> None:
    target = tmp_path / "index"
    write(target, "old")
    with (
        pytest.raises(BuildError, match="disk is full"),
        replacing(target, "plan"),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x")
    assert (target / "content").read_text() == "old"


def test_other_system_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), replacing(tmp_path / "index", "plan"):
        raise PermissionError(errno.EACCES, "no")


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from dtrag_core.index.replacing import recover, replacing
with replacing(Path(sys.argv[1]), "plan") as fresh:
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


def test_the_two_renames_do_the_same_where_there_is_no_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_library(*_: object, **__: object) -> None:
        raise OSError("none here")

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    target = tmp_path / "index"
    write(target, "old")
    write(target, "new")
    assert (target / "content").read_text() == "new"
    assert leftovers(target) == []


def test_a_reader_does_not_undo_the_swap_of_a_live_builder(tmp_path: Path) -> None:
    target = tmp_path / "index"
    write(target, "old")
    with replacing(target, "plan") as fresh:
        (fresh / "content").write_text("new")
        target.rename(tmp_path / ".index.previous")
        recover(target)
        assert not target.exists()
        (tmp_path / ".index.previous").rename(target)
    assert (target / "content").read_text() == "new"


def test_a_link_to_a_directory_stays_a_link(tmp_path: Path) -> None:
    write(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "content").read_text() == "new"


READER = """
import sys
from pathlib import Path
from dtrag_core.index.replacing import recover
target = Path(sys.argv[1])
print("reading", flush=True)
seen = set()
while True:
    recover(target)
    seen.add((target / "content").read_text())
    if seen >= {"old", "new"} and (target.parent / "stop").exists():
        break
"""


def test_a_reader_beside_a_builder_sees_the_old_or_the_new(tmp_path: Path) -> None:
    target = tmp_path / "index"
    write(target, "old")
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(target)], stdout=subprocess.PIPE, text=True
    )
    with reader:
        assert reader.stdout
        reader.stdout.readline()
        for number in range(400):
            write(target, "new" if number % 2 else "old")
        (tmp_path / "stop").touch()
    assert reader.returncode == 0


def test_two_builders_of_one_directory_do_not_mix(tmp_path: Path) -> None:
    target = tmp_path / "index"
    with replacing(target, "plan") as fresh:
        with pytest.raises(BuildError, match="another process"):
            write(target, "second")
        (fresh / "content").write_text("first")
    assert (target / "content").read_text() == "first"

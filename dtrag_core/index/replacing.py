"""Replacing a directory as a whole: readers see the old one or the new one, never a half."""

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dtrag_core.errors import BuildError, IndexBusyError

_PLAN: Final = ".plan"
_SYNCED_AT_ONCE: Final = 8


@contextmanager
def replacing(directory: Path, plan: str) -> Iterator[Path]:
    """Yield a directory to build in, which takes `directory`'s place if the block succeeds.

    What an interrupted or killed build of the same `plan` left is in it, so that the block can go
    on from there; after any other error, or another plan, it is empty. Until the end what was
    there before stays. Raises BuildError if another process writes the same directory or the disk
    is full.
    """
    directory = directory.resolve()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with locked(directory):
        fresh = building(directory)
        _recover(directory)
        try:
            with no_full_disk(directory):
                _begin(fresh, plan)
                yield fresh
                sync_files(fresh)
                # What takes the place is finished: nothing may take it for a build to go on with.
                (fresh / _PLAN).unlink()
                sync_entry(fresh)
                _swap(fresh, directory)
        except Exception:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        shutil.rmtree(fresh, ignore_errors=True)


def building(directory: Path) -> Path:
    """Return where what will take a directory's place is built, and left by a killed build."""
    return directory.with_name(f".{directory.name}.building")


def _begin(fresh: Path, plan: str) -> None:
    written = fresh / _PLAN
    if not written.is_file() or written.read_text(encoding="utf-8") != plan:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        written.write_text(plan, encoding="utf-8")
        sync_files(fresh)
        sync_entry(fresh.parent)


@contextmanager
def no_full_disk(directory: Path) -> Iterator[None]:
    """Raise BuildError where the block finds the disk full."""
    try:
        yield
    except OSError as error:
        # NumPy reports what it could not write without an errno.
        if error.errno not in (errno.ENOSPC, None):
            raise
        raise BuildError(
            f"the disk is full while writing {directory}; free some space and try again, "
            "what was there before is intact"
        ) from error


def recover(directory: Path) -> None:
    """Undo a swap that was killed between its two renames; a live builder is left alone."""
    directory = directory.resolve()
    if _previous(directory).exists():
        with suppress(BuildError), locked(directory):
            _recover(directory)


def _recover(directory: Path) -> None:
    previous = _previous(directory)
    if previous.exists():
        if directory.exists():
            shutil.rmtree(previous)
        else:
            previous.rename(directory)


def _previous(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.previous")


def _swap(fresh: Path, directory: Path) -> None:
    """Put `fresh` in the directory's place: at one stroke where the system can, else by two."""
    if not directory.exists():
        fresh.rename(directory)
    elif not _exchanged(fresh, directory):
        directory.rename(_previous(directory))
        fresh.rename(directory)
    sync_entry(directory.parent)
    shutil.rmtree(_previous(directory), ignore_errors=True)


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange two directories atomically (Linux's renameat2); False where it cannot be."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return not renameat2(here, os.fsencode(first), here, os.fsencode(second), exchange)


def sync_files(directory: Path) -> None:
    """Have everything in a directory on disk: files, then the names of all, innermost first."""
    inside = sorted(directory.rglob("*"), reverse=True)
    sync_entries([path for path in inside if path.is_file()])
    for folder in (*(path for path in inside if path.is_dir()), directory):
        sync_entry(folder)


def sync_entries(paths: Iterable[Path]) -> None:
    """Have all of them on disk; asked for together, they share the disk's turns."""
    with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool:
        for _ in pool.map(sync_entry, paths):
            pass


def sync_entry(path: Path) -> None:
    """Have a file's bytes, or a directory's names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Be the only writer of a directory; IndexBusyError if another process is."""
    lock = directory.with_name(f".{directory.name}.lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise IndexBusyError(
                f"another process is writing {directory}; wait for it, or write elsewhere"
            ) from error
        yield

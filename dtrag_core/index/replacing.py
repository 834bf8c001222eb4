"""Replacing a directory as a whole: readers see the old one or the new one, never a half."""

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dtrag_core.errors import BuildError


@contextmanager
def replacing(directory: Path) -> Iterator[Path]:
    """Yield an empty directory that takes `directory`'s place if the block succeeds.

    On an exception (Ctrl-C too) or a kill what was there before stays; the leftovers of a kill are
    removed by the next call. Raises BuildError if another process is building the same directory
    or the disk is full.
    """
    directory = directory.resolve()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _locked(directory):
        fresh = directory.with_name(f".{directory.name}.building")
        _recover(directory)
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            fresh.mkdir()
            yield fresh
            _sync(fresh)
            _swap(fresh, directory)
        except OSError as error:
            # NumPy reports what it could not write without an errno.
            if error.errno not in (errno.ENOSPC, None):
                raise
            raise BuildError(
                f"the disk is full while writing {directory}; free some space and build again, "
                "what was there before is intact"
            ) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def recover(directory: Path) -> None:
    """Undo a swap that was killed between its two renames; a live builder is left alone."""
    directory = directory.resolve()
    if _previous(directory).exists():
        with suppress(BuildError), _locked(directory):
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
        shutil.rmtree(_previous(directory), ignore_errors=True)
    _sync_entry(directory.parent)


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange two directories atomically (Linux's renameat2); False where it cannot be."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return not renameat2(here, os.fsencode(first), here, os.fsencode(second), exchange)


def _sync(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            _sync_entry(path)
    _sync_entry(directory)


def _sync_entry(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    lock = directory.with_name(f".{directory.name}.lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BuildError(
                f"another process is building {directory}; wait for it, or build elsewhere"
            ) from error
        yield

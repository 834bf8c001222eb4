"""Arrays in files: mapped one by one, or several in an archive; nothing in them is pickled."""

import ctypes
import math
import mmap
import os
import sys
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dtrag_core.errors import IndexCorruptError
from dtrag_core.index.replacing import sync_entry

_POPULATE_READ: Final = 22  # MADV_POPULATE_READ


def mapped(path: Path) -> NDArray[Any]:
    """Map an array read-only, as `np.save` wrote it, in half the time that `np.load` takes.

    Raises FileNotFoundError if there is none, IndexCorruptError if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            npy.read_magic(file)
            shape, by_columns, kind = npy.read_array_header_1_0(file)
            size = math.prod(shape)
            if not size:  # nothing can be mapped; an array of these bytes is as read-only
                return np.frombuffer(b"", kind).reshape(shape)
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            array = np.frombuffer(pages, kind, size, file.tell())
            return array.reshape(shape, order="F" if by_columns else "C")
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        raise unreadable(path, error) from error


def mapped_group(directory: Path, prefix: str, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Map what `write_group` wrote under these names. Raises as `mapped` does."""
    return {name: mapped(directory / f"{prefix}{name}.npy") for name in names}


def populate(arrays: Iterable[NDArray[Any]]) -> None:
    """Have the pages of mapped arrays in memory and in this process's page tables.

    Else the first search that touches a page waits for it. Does nothing where the system has no
    such advice (Linux before 5.14, others) or refuses it.
    """
    if sys.platform != "linux":
        return
    madvise = ctypes.CDLL(None).madvise
    for array in arrays:
        first = array.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
        size = array.ctypes.data + array.nbytes - first
        madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), _POPULATE_READ)


def write_group(directory: Path, prefix: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write each array to a file of its own, `<prefix><name>.npy`."""
    for name, array in arrays.items():
        np.save(directory / f"{prefix}{name}.npy", array)


def read_archive(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an archive.

    Raises FileNotFoundError if there is none, IndexCorruptError if it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except FileNotFoundError:
        raise
    except (ValueError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise unreadable(path, error) from error


def write_archive(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to one file, which is there as a whole or not at all, and on disk by then."""
    fresh = path.with_name(f".{path.name}")
    with fresh.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_entry(path.parent)


def unreadable(path: Path, error: Exception) -> IndexCorruptError:
    """Return the error for a file of an index that cannot be read."""
    return IndexCorruptError(f"{path} cannot be read ({error}); build it again: dtrag index build")

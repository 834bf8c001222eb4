"""Taking away files that no generation of an index needs any more."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from dtrag_core.index.manifest import SEGMENTS, Manifest
from dtrag_core.index.next_generation import DELETIONS


def remove_files(directory: Path, files: Iterable[str]) -> None:
    """Take away these files, and folders of segments that are left empty."""
    folders = set()
    for name in files:
        path = directory / name
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in folders:
        if folder.parent.name == SEGMENTS:
            folder.rmdir()


def remove_leftovers(directory: Path, manifest: Manifest) -> None:
    """Take away what a killed writer left, which no manifest names; no writer may be at work."""
    named = {directory / name for name in manifest.files}
    folders = {path.parent for path in named}
    for folder in (directory / SEGMENTS).iterdir():
        if folder not in folders:
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    if (directory / DELETIONS).is_dir():
        for path in (directory / DELETIONS).iterdir():
            if path not in named:
                path.unlink()

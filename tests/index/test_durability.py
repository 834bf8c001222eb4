"""What is acknowledged is on disk by then: every file, and every name on the way to it."""

import os
from pathlib import Path

import pytest

from dtrag_core.bench.torture.children import build_plan
from dtrag_core.bench.torture.corpus import TortureDataset, make_chunk
from dtrag_core.index import builder as building
from dtrag_core.index import replacing
from dtrag_core.index.builder import build_index
from dtrag_core.index.manifest import Manifest, SegmentEntry
from dtrag_core.index.writer import IndexWriter


class Disk:
    """Knows which files and folders a power failure would not change: synced as they are now."""

    def __init__(self, root: Path, patched: pytest.MonkeyPatch) -> None:
        self._durable = {_stamp(path.stat()) for path in (root, *root.rglob("*"))}
        self._fsync = os.fsync
        patched.setattr(os, "fsync", self._sync)

    def in_danger(self, root: Path) -> list[str]:
        """Return what could be lost or half there, of a folder and everything in it."""
        paths = (root, *root.rglob("*"))
        return [str(path) for path in paths if _stamp(path.stat()) not in self._durable]

    def _sync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        self._durable.add(_stamp(os.fstat(descriptor)))


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_ino, status.st_mtime_ns


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("present", [True, False])
def test_a_build_is_on_disk_before_and_after_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: bool, exchange: bool
) -> None:
    target, plan = tmp_path / "index", build_plan(TortureDataset(40), 15)
    if present:
        build_index(build_plan(TortureDataset(5), 5), target)
    disk, swap, swapped = Disk(tmp_path, monkeypatch), replacing._swap, []

    def watched(fresh: Path, directory: Path) -> None:
        assert disk.in_danger(fresh) == []
        assert sorted(path.name for path in fresh.iterdir() if path.name[0] == ".") == []
        swap(fresh, directory)
        swapped.append(directory)

    monkeypatch.setattr(replacing, "_swap", watched)
    if not exchange:
        monkeypatch.setattr(replacing, "_exchanged", lambda *_: False)
    build_index(plan, target)
    assert swapped == [target]
    assert disk.in_danger(target) == []


def test_a_segment_that_says_it_is_finished_is_on_disk_with_all_it_rests_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, write_entry, finished = Disk(tmp_path, monkeypatch), building._write_entry, []

    def watched(path: Path, entry: SegmentEntry) -> None:
        fresh = path.parents[1]
        assert disk.in_danger(fresh) == []
        write_entry(path, entry)
        assert disk.in_danger(fresh) == []
        finished.append(path)

    monkeypatch.setattr(building, "_write_entry", watched)
    build_index(build_plan(TortureDataset(40), 15), tmp_path / "index")
    assert len(finished) == 3


def test_what_a_manifest_names_is_on_disk_before_and_the_manifest_after(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = Manifest.write, []
    with IndexWriter(index) as writer:
        for change in (
            lambda: writer.delete(["c1"]),
            lambda: writer.add([make_chunk("c2", 1), make_chunk("new", 1)]),
            writer.compact,
        ):
            with monkeypatch.context() as patched:
                disk = Disk(index, patched)

                def watched(manifest: Manifest, directory: Path, disk: Disk = disk) -> None:
                    assert disk.in_danger(directory) == []
                    write(manifest, directory)
                    assert disk.in_danger(directory) == []
                    written.append(manifest.generation)

                patched.setattr(Manifest, "write", watched)
                change()
    assert written == [2, 3, 4]

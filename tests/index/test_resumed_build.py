"""An interrupted build goes on where it stopped, and ends as if nothing had happened."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dtrag_core.bench.torture.children import build_plan
from dtrag_core.bench.torture.corpus import TortureDataset
from dtrag_core.index.builder import BuildPlan, build_index
from dtrag_core.index.manifest import verify_files
from dtrag_core.index.replacing import building
from dtrag_core.types import Chunk

SIZE, ROWS = 90, 20
INDEXING = 3
"""The pass over the chunks that writes segments, after those that fit and sample."""


@dataclass(frozen=True)
class Interrupted(TortureDataset):
    """Ends with an exception after some chunks of one pass over them."""

    error: type[BaseException] = KeyboardInterrupt
    after: int = 50
    at_pass: int = INDEXING
    passes: list[int] = field(default_factory=list)

    def chunks(self) -> Iterator[Chunk]:
        self.passes.append(0)
        for number, chunk in enumerate(TortureDataset(self.size, self.version).chunks()):
            if len(self.passes) == self.at_pass and number == self.after:
                raise self.error
            yield chunk


def plan(dataset: TortureDataset) -> BuildPlan:
    return build_plan(dataset, ROWS)


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    files = sorted((folder / "segments").glob("*/*"))
    return {
        f"{path.parent.name}/{path.name}": (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in files
    }


@pytest.mark.parametrize("after", [0, 10, 20, 59, 60, 89])
def test_finished_segments_are_not_written_again(tmp_path: Path, after: int) -> None:
    undisturbed = build_index(plan(TortureDataset(SIZE)), tmp_path / "undisturbed")
    target = tmp_path / "index"
    with pytest.raises(KeyboardInterrupt):
        build_index(plan(Interrupted(SIZE, after=after)), target)
    assert not target.exists()
    left = stamps(building(target))
    assert len({name.partition("/")[0] for name in left}) == after // ROWS

    manifest = build_index(plan(TortureDataset(SIZE)), target)

    assert manifest.content_hash == undisturbed.content_hash
    assert verify_files(target).content_hash == undisturbed.content_hash
    now = stamps(target)
    assert {name: now[name] for name in left} == left
    assert not building(target).exists()
    assert sorted(path.name for path in target.iterdir()) == sorted(
        path.name for path in (tmp_path / "undisturbed").iterdir()
    )


def test_interrupted_twice(tmp_path: Path) -> None:
    undisturbed = build_index(plan(TortureDataset(SIZE)), tmp_path / "undisturbed")
    for dataset in (Interrupted(SIZE, after=30), Interrupted(SIZE, after=70, at_pass=1)):
        with pytest.raises(KeyboardInterrupt):
            build_index(plan(dataset), tmp_path / "index")
    assert len({name[:6] for name in stamps(building(tmp_path / "index"))}) == 3
    manifest = build_index(plan(TortureDataset(SIZE)), tmp_path / "index")
    assert manifest.content_hash == undisturbed.content_hash


def test_what_was_there_stays_until_the_end(tmp_path: Path) -> None:
    target = tmp_path / "index"
    before = build_index(plan(TortureDataset(30, version=1)), target)
    with pytest.raises(KeyboardInterrupt):
        build_index(plan(Interrupted(SIZE)), target)
    assert verify_files(target) == before
    build_index(plan(TortureDataset(SIZE)), target)
    assert verify_files(target).chunks == SIZE


def test_another_plan_does_not_go_on_from_there(tmp_path: Path) -> None:
    target = tmp_path / "index"
    with pytest.raises(KeyboardInterrupt):
        build_index(plan(Interrupted(SIZE)), target)
    other = replace(plan(TortureDataset(SIZE)), segment_rows=45)
    assert [each.rows for each in build_index(other, target).segments] == [45, 45]


def test_an_error_leaves_nothing_half_made(tmp_path: Path) -> None:
    target = tmp_path / "index"
    with pytest.raises(ValueError, match=r"^$"):
        build_index(plan(Interrupted(SIZE, error=ValueError)), target)
    assert not target.exists()
    assert not building(target).exists()

"""Text that is no Unicode: named by chunk and field before anything is written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dtrag_core.bench.torture.children import build_plan
from dtrag_core.bench.torture.corpus import TortureDataset, make_chunk
from dtrag_core.errors import DataError
from dtrag_core.index.builder import build_index
from dtrag_core.index.manifest import read_manifest, verify_files
from dtrag_core.index.writer import IndexWriter
from dtrag_core.types import Chunk

WHOLE = make_chunk("c7", 0)
HALVES = {
    "id": WHOLE._replace(id="c7\ud83d"),
    "title": WHOLE._replace(title="\udc00"),
    "text": WHOLE._replace(text="half \ud800 a pair"),
    "path": WHOLE._replace(path=("top", "\ud800")),
    "doc_type": WHOLE._replace(doc_type="\udfff"),
}


@dataclass(frozen=True)
class WithHalf(TortureDataset):
    """A dataset that its owner's own code reads; one chunk of it is not as it should be."""

    half: Chunk = WHOLE

    def chunks(self) -> Iterator[Chunk]:
        return (self.half if each.id == "c7" else each for each in TortureDataset.chunks(self))


@pytest.mark.parametrize("field", HALVES)
def test_half_a_surrogate_pair_is_refused_with_chunk_and_field(
    index: Path, tmp_path: Path, field: str
) -> None:
    half = HALVES[field]
    said = rf"the {field} of chunk {half.id!r} is not valid Unicode".replace("\\", r"\\")
    before = read_manifest(index)
    with IndexWriter(index) as writer, pytest.raises(DataError, match=said):
        writer.add([make_chunk("new", 1), half])
    assert verify_files(index) == before
    with pytest.raises(DataError, match=said) as caught:
        build_index(build_plan(WithHalf(20, half=half), 5), tmp_path / "built")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "built").exists()


def test_what_the_error_suggests_can_be_added(index: Path) -> None:
    text = HALVES["text"].text.encode("utf-8", "replace").decode()
    with IndexWriter(index) as writer:
        assert writer.add([WHOLE._replace(text=text)]).chunks == 60
    verify_files(index)

"""Processes are killed, and what is left is judged; and damage would be noticed."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dtrag_core.bench.torture.children import Ingest, build_plan
from dtrag_core.bench.torture.corpus import TortureDataset, make_chunk
from dtrag_core.bench.torture.judging import differences, judge_answers
from dtrag_core.bench.torture.killing import Killer
from dtrag_core.bench.torture.reference import Contents
from dtrag_core.bench.torture.run import torture
from dtrag_core.bench.torture.updates import Update, UpdateLog, next_update
from dtrag_core.bench.torture.updating import LivingIndex
from dtrag_core.embedding.registry import restore_embedder
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.errors import IndexCorruptError, InvalidRequestError, MeasuringError
from dtrag_core.index.arrays import read_archive
from dtrag_core.index.builder import EMBEDDER, build_index
from dtrag_core.index.writer import IndexWriter

ORIGIN = TortureDataset(80)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torture") / "built"
    build_index(build_plan(ORIGIN, 30), folder)
    return folder


@pytest.fixture
def living(built: Path, tmp_path: Path) -> Iterator[LivingIndex]:
    opened = LivingIndex(tmp_path, built, ORIGIN, seed=1)
    yield opened
    opened.close()


def write(living: LivingIndex, update: Update) -> None:
    with IndexWriter(living.directory) as writer:
        writer.delete(update.delete)
        writer.add([make_chunk(name, update.number) for name in update.add])


def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    report = torture(tmp_path / "work", 6, seed=3, chunks=2_200, updates=18)
    assert report.complaints == ()
    assert report.ok
    assert report.kills == 6
    assert report.missing == 0
    assert [len(phase.moments) for phase in report.phases.values()] == [2, 2, 2]
    assert report.generations > report.acknowledged > 0
    assert report.to_json()["kills"] == 6


@pytest.mark.parametrize("kills", [0, -1])
def test_impossible_numbers_of_kills(tmp_path: Path, kills: int) -> None:
    with pytest.raises(InvalidRequestError, match="kills"):
        torture(tmp_path / "work", kills, seed=0)


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidRequestError, match="not empty"):
        torture(tmp_path, 1, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_update_under_way_may_be_there_or_not(living: LivingIndex) -> None:
    rng = random.Random(0)
    assert living.judge(rng) == (False, [])
    update = living.work.next_update(living.work.versions()[0], 1)
    write(living, update)
    assert living.judge(rng) == (True, [])
    assert living.work.versions()[1] == 1, "it is logged once it was found"
    assert living.judge(rng) == (False, [])


def test_a_part_of_the_update_under_way_is_noticed(living: LivingIndex) -> None:
    update = living.work.next_update(living.work.versions()[0], 1)
    assert len(update.delete) > 1
    write(living, Update(1, delete=update.delete[:-1]))
    happened, complaints = living.judge(random.Random(0))
    assert not happened
    assert complaints
    assert living.missing == len(update.delete) - 1


def test_a_lost_update_is_noticed(living: LivingIndex) -> None:
    UpdateLog(living.work.log).append(Update(1, ("a", "b", "c1")))
    happened, complaints = living.judge(random.Random(0))
    assert not happened
    assert living.missing == 3
    assert any("2 chunks are missing: a, b" in complaint for complaint in complaints)
    assert any("1 chunks have other content: c1" in complaint for complaint in complaints)


def test_a_deletion_undone_is_noticed(living: LivingIndex) -> None:
    UpdateLog(living.work.log).append(Update(1, delete=("c1", "c2")))
    _, complaints = living.judge(random.Random(0))
    assert any("2 chunks should not be there: c1, c2" in complaint for complaint in complaints)


def test_an_altered_byte_is_noticed(living: LivingIndex) -> None:
    path = next(living.directory.glob("segments/*/vectors_halves.npy"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IndexCorruptError, match="was altered"):
        living.judge(random.Random(0))


def test_answers_over_other_chunks_are_noticed(built: Path) -> None:
    engine = EmbeddedEngine(built)
    contents = Contents(restore_embedder("synthetic", read_archive(built / EMBEDDER)))
    versions = dict.fromkeys(ORIGIN.names(), 0)
    assert judge_answers(engine, versions, contents, random.Random(1)) == []
    complaints = judge_answers(engine, {**versions, "c3": 7}, contents, random.Random(1))
    assert any(complaint.startswith("float32 scores are off") for complaint in complaints)
    assert any(complaint.startswith("BM25") for complaint in complaints)
    complaints = judge_answers(engine, {**versions, "more": 1}, contents, random.Random(1))
    assert any("80 chunks, 81 match; unlike: more" in complaint for complaint in complaints)
    engine.close()


def test_differences_name_a_few() -> None:
    chunks = {name: make_chunk(name, 0) for name in ("a", "b", "c", "d", "e")}
    assert differences(chunks, chunks) == []
    assert differences({}, chunks) == ["5 chunks are missing: a, b, c, ..."]


def test_updates_follow_from_the_log_alone() -> None:
    versions = dict.fromkeys(ORIGIN.names(), 0)
    backwards = dict(reversed(versions.items()))
    updates = [next_update(versions, number, 5, 80) for number in range(1, 60)]
    assert updates == [next_update(backwards, number, 5, 80) for number in range(1, 60)]
    assert any(update.delete for update in updates)
    assert any(set(update.add) & versions.keys() for update in updates), "some replace"
    assert any(set(update.add) - versions.keys() for update in updates), "some are new"


def test_a_line_cut_short_was_not_acknowledged(tmp_path: Path) -> None:
    log = UpdateLog(tmp_path / "log")
    assert log.read() == []
    first, second = Update(1, ("a",)), Update(2, delete=("a",))
    log.append(first)
    log.append(second)
    (tmp_path / "log").write_bytes((tmp_path / "log").read_bytes()[:-4])
    assert log.read() == [first]
    log.append(second)
    assert log.read() == [first, second]


def test_a_process_that_fails_is_not_taken_for_a_killed_one(tmp_path: Path) -> None:
    with pytest.raises(MeasuringError, match="ended by itself with exit code 1"):
        Killer().kill(60.0, _fail, tmp_path)


def _fail(folder: Path, begun: object) -> None:
    raise SystemExit(1)


def test_the_size_stays_near_what_was_asked() -> None:
    work = Ingest(Path(), Path("none"), ORIGIN, 0, 300)
    versions, _ = work.versions()
    sizes = []
    for number in range(1, 200):
        versions = work.next_update(versions, number).applied(versions)
        sizes.append(len(versions))
    assert 150 < sum(sizes[50:]) / len(sizes[50:]) < 600

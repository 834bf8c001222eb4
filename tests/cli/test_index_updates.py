"""`dtrag index add|delete|compact`."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dtrag_core.cli import ExitCode
from dtrag_core.index.manifest import read_manifest
from dtrag_core.index.writer import IndexWriter

Dtrag = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def own_index(index: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(index, tmp_path / "index"))


@pytest.fixture
def more(tmp_path: Path) -> Path:
    file = tmp_path / "more.jsonl"
    lines = [
        {"id": "bat", "title": "Bat", "text": "hunts moths at dusk", "path": "animals/mammals"},
        {"id": "2", "title": "Heron", "text": "now about moths", "path": "animals/birds"},
        {"id": "owl", "title": "Owl", "text": "hunts mice", "path": "animals/birds"},
    ]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return file


def found(dtrag: Dtrag, directory: Path, query: str, *options: str) -> list[str]:
    said = dtrag("search", query, "--index", directory, "--json", *options)
    return [hit["id"] for hit in json.loads(said.stdout)["results"][0]["hits"]]


@pytest.mark.parametrize("batch", ["1", "2000"])
def test_added_chunks_are_found_and_replaced_ones_are_as_they_are_now(
    dtrag: Dtrag, own_index: Path, more: Path, batch: str
) -> None:
    done = dtrag("index", "add", own_index, more, "--batch", batch)
    assert done.returncode == ExitCode.DONE
    assert done.stdout == f"3 added; {own_index} holds 10 chunks\n"
    assert set(found(dtrag, own_index, "moths", "--topk", "2")) == {"bat", "2"}
    assert dtrag("index", "verify", own_index).returncode == ExitCode.DONE


def test_deleted_chunks_are_gone(dtrag: Dtrag, own_index: Path) -> None:
    done = dtrag("index", "delete", own_index, "2", "3", "3", "nobody")
    assert done.stdout == f"2 of 3 deleted; {own_index} holds 6 chunks\n"
    assert not {"2", "3"} & set(found(dtrag, own_index, "heron or pike", "--topk", "6"))


def test_compacting_says_what_it_did(dtrag: Dtrag, own_index: Path, more: Path) -> None:
    with IndexWriter(own_index) as writer:
        writer.delete(["1", "2", "3"])
    done = dtrag("index", "compact", own_index)
    assert done.stdout == (
        f"{own_index}: 1 segments are now 1, 3 deleted chunks are gone from them\n"
    )
    assert read_manifest(own_index).rows == 5
    dtrag("index", "add", own_index, more)
    dtrag("index", "delete", own_index, "bat")
    assert len(read_manifest(own_index).segments) == 2
    done = dtrag("index", "compact", own_index)
    assert done.stdout == (
        f"{own_index}: 2 segments are now 1, 1 deleted chunks are gone from them\n"
    )
    assert read_manifest(own_index).rows == read_manifest(own_index).chunks == 7
    assert found(dtrag, own_index, "mice", "--topk", "1") == ["owl"]


def test_compacting_tells_of_an_index_that_outgrew_its_lists(
    dtrag: Dtrag, own_index: Path, tmp_path: Path
) -> None:
    many = tmp_path / "many.jsonl"
    lines = [{"id": f"n{number}", "text": f"pike {number % 7}"} for number in range(16_000)]
    many.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert "lists" not in dtrag("index", "compact", own_index).stdout
    dtrag("index", "add", own_index, many, "--batch", "8000")
    said = dtrag("index", "compact", own_index).stdout
    assert "3 segments are now 1" in said
    assert "lists (1) were chosen when it was built for far fewer than its 16,008 chunks" in said
    assert "would have 160" in said


def test_a_bad_line_is_named_and_nothing_of_its_batch_is_added(
    dtrag: Dtrag, own_index: Path, more: Path
) -> None:
    with more.open("a", encoding="utf-8") as file:
        file.write('\n{"text": "no id"}\n')
    before = read_manifest(own_index)
    refused = dtrag("index", "add", own_index, more)
    assert refused.returncode == ExitCode.ERROR
    assert f"{more}:4:" in refused.stderr
    assert read_manifest(own_index) == before


def test_a_second_writer_is_refused(dtrag: Dtrag, own_index: Path, more: Path) -> None:
    with IndexWriter(own_index):
        refused = dtrag("index", "add", own_index, more)
    assert refused.returncode == ExitCode.ERROR
    assert "another process is writing" in refused.stderr


def test_no_index_and_no_file(dtrag: Dtrag, own_index: Path, tmp_path: Path) -> None:
    assert "no index" in dtrag("index", "delete", tmp_path / "nowhere", "1").stderr
    missing = dtrag("index", "add", own_index, tmp_path / "missing.jsonl")
    assert missing.returncode == ExitCode.ERROR
    assert "missing.jsonl" in missing.stderr

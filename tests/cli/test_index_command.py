"""`dtrag index build|info|verify`."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dtrag_core.cli import ExitCode
from dtrag_core.index.manifest import read_manifest

Dtrag = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def own_index(index: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return shutil.copytree(index, tmp_path / "index")


def test_build_keeps_an_index_that_is_there_and_rebuilds_on_demand(
    dtrag: Dtrag, notes: Path, own_index: Path
) -> None:
    before = (own_index / "manifest.json").stat().st_ino
    kept = dtrag("index", "build", "--dataset", f"jsonl:{notes}", "--out", own_index)
    still = (own_index / "manifest.json").stat().st_ino
    rebuilt = dtrag(
        "index", "build", "--dataset", f"jsonl:{notes}", "--out", own_index, "--rebuild"
    )

    assert (kept.returncode, rebuilt.returncode) == (0, 0)
    assert still == before
    assert (own_index / "manifest.json").stat().st_ino != before
    assert "chunks    8" in kept.stdout
    assert kept.stdout == rebuilt.stdout


def test_info_by_directory_and_by_dataset_say_the_same(
    dtrag: Dtrag, notes: Path, index: Path
) -> None:
    missing = dtrag("index", "info", "--dataset", f"jsonl:{notes}")
    dtrag("index", "build", "--dataset", f"jsonl:{notes}")
    found = json.loads(dtrag("index", "info", "--dataset", f"jsonl:{notes}", "--json").stdout)
    named = json.loads(dtrag("index", "info", index, "--json").stdout)

    assert missing.returncode == ExitCode.ERROR
    assert f"dtrag index build --dataset jsonl:{notes}" in missing.stderr
    assert found.pop("directory") != named.pop("directory")
    assert found == named
    assert found["taxonomy"] == {"animals": 4, "plants": 4}
    assert found["doc_types"] == ["letter", "note"]
    assert found["content_hash"] == read_manifest(index).content_hash


def test_info_shows_files_fusion_and_the_tree(dtrag: Dtrag, index: Path) -> None:
    said = dtrag("index", "info", index).stdout

    assert "animals (4)\n  birds (2)\n" in said
    assert "weighted, weight of BM25 " in said
    assert "segments/000001/chunks.arrow" in said
    assert "searched exactly, recall@10 " in said


@pytest.mark.parametrize("named", [[], ["DIR", "--dataset", "pydocs"]])
def test_info_wants_one_index(dtrag: Dtrag, named: list[str]) -> None:
    ran = dtrag("index", "info", *named)

    assert ran.returncode == ExitCode.USAGE
    assert "by its DIR, or by --dataset" in ran.stderr


def test_verify_reads_every_byte(dtrag: Dtrag, own_index: Path) -> None:
    whole = dtrag("index", "verify", own_index)
    path = own_index / "segments/000001/vectors_halves.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    altered = dtrag("index", "verify", own_index)

    assert whole.returncode == 0
    assert "every byte as built" in whole.stdout
    assert altered.returncode == ExitCode.ERROR
    assert "vectors_halves.npy was altered" in altered.stderr


@pytest.mark.parametrize("command", [("index", "verify"), ("search", "bird", "--index")])
def test_a_truncated_file_is_named(dtrag: Dtrag, own_index: Path, command: tuple[str, ...]) -> None:
    path = own_index / "segments/000001/postings_ids.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])

    ran = dtrag(*command, own_index)

    assert ran.returncode == ExitCode.ERROR
    assert f"{path} has {len(whole) - 4:,} bytes, manifest says {len(whole):,}" in ran.stderr
    assert "dtrag index build" in ran.stderr


def test_a_directory_built_with_another_embedder_is_not_reused(
    dtrag: Dtrag, notes: Path, own_index: Path
) -> None:
    before = read_manifest(own_index)

    ran = dtrag(
        "index", "build", "--dataset", f"jsonl:{notes}", "--embedder", "lsa", "--out", own_index
    )

    assert ran.returncode == ExitCode.ERROR
    assert "built with embedder static, asked for is lsa" in ran.stderr
    assert read_manifest(own_index) == before


def test_an_index_never_takes_the_place_of_other_files(
    dtrag: Dtrag, notes: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "thesis" / "chapter.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")

    ran = dtrag(
        "index", "build", "--dataset", f"jsonl:{notes}", "--out", precious.parent, "--rebuild"
    )

    assert ran.returncode == ExitCode.USAGE
    assert f"{precious.parent} exists and is no index" in ran.stderr
    assert precious.read_text() == "years of work"

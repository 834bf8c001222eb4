"""`dtrag index build|info|verify|add|delete|compact`."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dtrag_core.cli import index_updates
from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import Commands, add_command, add_index_choice, add_json, bm25_of
from dtrag_core.cli.output import say, say_json, table
from dtrag_core.cli.progress import shown_progress
from dtrag_core.errors import IndexDirectoryError, InvalidRequestError

if TYPE_CHECKING:
    from dtrag_core.datasets.taxonomy import Taxonomy
    from dtrag_core.index.ivf_tuning import OperatingPoint
    from dtrag_core.index.manifest import Manifest

_SCREEN: Final = 40
_BUILD_EXAMPLES = """\
  dtrag index build --dataset pydocs
  dtrag index build --dataset jsonl:notes.jsonl --embedder lsa --out notes-index
"""
_INFO_EXAMPLES = """\
  dtrag index info --dataset pydocs
  dtrag index info notes-index --json
"""


def register(commands: Commands) -> None:
    """Add the commands."""
    group = commands.add_parser("index", help="build, describe or verify an index")
    actions = group.add_subparsers(title="actions", metavar="ACTION", required=True)
    build = add_command(
        actions, "build", "build the index of a dataset, if there is none", _build, _BUILD_EXAMPLES
    )
    add_index_choice(build, required=True)
    build.add_argument("--out", type=Path, metavar="DIR", help="default: a place under $DTRAG_HOME")
    build.add_argument(
        "--rebuild", action="store_true", help="build anew and replace what is there"
    )
    info = add_command(actions, "info", "say what an index holds", _info, _INFO_EXAMPLES)
    info.add_argument("directory", type=Path, metavar="DIR", nargs="?")
    add_index_choice(info, required=False)
    add_json(info)
    verify = add_command(
        actions, "verify", "check every byte of an index against its hash", _verify
    )
    verify.add_argument("directory", type=Path, metavar="DIR")
    index_updates.register(actions)


def _build(args: argparse.Namespace) -> int:
    from dtrag_core.datasets.registry import open_dataset
    from dtrag_core.index.manifest import read_manifest
    from dtrag_core.workbench import prepare

    if args.out is not None:
        _refuse_other_folder(args.out)
    with shown_progress() as progress:
        directory = prepare(
            open_dataset(args.dataset),
            args.embedder,
            bm25_of(args),
            directory=args.out,
            rebuild=args.rebuild,
            progress=progress,
        )
    say(_summary(directory, read_manifest(directory)))
    return ExitCode.DONE


def _refuse_other_folder(directory: Path) -> None:
    """Raise InvalidRequestError if building here would replace files that are no index."""
    from dtrag_core.index.manifest import MANIFEST

    if not directory.exists() or (directory / MANIFEST).is_file():
        return
    if not directory.is_dir() or any(directory.iterdir()):
        raise InvalidRequestError(
            f"{directory} exists and is no index; an index takes the place of what is there, "
            "so name a new folder"
        )


def _info(args: argparse.Namespace) -> int:
    from dtrag_core.index.snapshot import open_snapshot

    directory = _directory(args)
    snapshot = open_snapshot(directory)
    manifest, filters = snapshot.manifest, snapshot.filters
    if args.json:
        top = {path[0]: filters.taxonomy.count(path) for path in filters.taxonomy.children()}
        say_json(_as_json(directory, manifest, top, filters.doc_types))
        return ExitCode.DONE
    say(_summary(directory, manifest))
    sizes = [(name, f"{entry.bytes / 2**20:,.2f}") for name, entry in manifest.files.items()]
    say("\n" + table(("file", "MiB"), sizes))
    say("\ntaxonomy, with chunks\n" + _taxonomy(filters.taxonomy))
    return ExitCode.DONE


def _taxonomy(taxonomy: "Taxonomy") -> str:
    """Return the first two levels, or the first alone if that is more than a screen."""
    deep = taxonomy.render(2)
    return (deep if deep.count("\n") < _SCREEN else taxonomy.render(1)) or "none"


def _directory(args: argparse.Namespace) -> Path:
    from dtrag_core.datasets.registry import open_dataset
    from dtrag_core.workbench import index_directory

    if (args.directory is None) == (args.dataset is None):
        raise InvalidRequestError("name an index by its DIR, or by --dataset")
    if args.directory is not None:
        return Path(args.directory)
    dataset = open_dataset(args.dataset)
    directory = index_directory(dataset, args.embedder or dataset.info.embedder, bm25_of(args))
    if not directory.exists():
        raise IndexDirectoryError(
            f"{args.dataset} has no index with these settings yet; "
            f"build it: dtrag index build --dataset {args.dataset}"
        )
    return directory


def _verify(args: argparse.Namespace) -> int:
    from dtrag_core.index.manifest import verify_files

    manifest = verify_files(args.directory)
    total = sum(entry.bytes for entry in manifest.files.values())
    say(f"{args.directory}: {len(manifest.files)} files, {total:,} bytes, every byte as built")
    return ExitCode.DONE


def _summary(directory: Path, manifest: "Manifest") -> str:
    fusion, bm25 = manifest.fusion, manifest.bm25
    total = sum(entry.bytes for entry in manifest.files.values())
    facts = {
        "index": str(directory),
        "dataset": manifest.dataset,
        "good for": manifest.caveat,
        "chunks": f"{manifest.chunks:,}",
        "analyzer": manifest.analyzer.profile,
        "bm25": f"k1 {bm25.k1:g}, b {bm25.b:g}",
        "embedder": f"{manifest.embedder}, {manifest.dimension} d",
        "fusion": f"{fusion.method}, weight of BM25 {fusion.bm25_weight:g}"
        if fusion.method == "weighted"
        else f"rrf, k {fusion.rrf_k}",
        "vectors": _vectors(manifest.vectors),
        "segments": f"{len(manifest.segments)}, generation {manifest.generation}",
        "size": f"{total / 2**20:,.2f} MiB",
        "content": manifest.content_hash,
    }
    return "\n".join(f"{name:<9} {fact}" for name, fact in facts.items())


def _vectors(point: "OperatingPoint") -> str:
    how = "searched exactly" if point.structure == "exact" else f"{point.probes} lists searched"
    return f"{how}, recall@10 {point.recall:.4f} on {point.queries} queries (floor {point.floor:g})"


def _as_json(
    directory: Path, manifest: "Manifest", top: dict[str, int], doc_types: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "directory": str(directory),
        "content_hash": manifest.content_hash,
        **asdict(manifest),
        "taxonomy": top,
        "doc_types": doc_types,
    }

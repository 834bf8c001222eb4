"""`dtrag index add|delete|compact`: changing an index without building it again."""

import argparse
from itertools import islice
from pathlib import Path

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import Commands, add_command, number
from dtrag_core.cli.output import say
from dtrag_core.cli.progress import shown_progress

_ADD_EXAMPLES = """\
  dtrag index add notes-index more.jsonl
  dtrag index add notes-index edited.jsonl --batch 100
"""


def register(actions: Commands) -> None:
    """Add the actions."""
    add = add_command(
        actions,
        "add",
        "add chunks to an index, or replace those with the same id",
        _add,
        _ADD_EXAMPLES,
    )
    add.add_argument("directory", type=Path, metavar="DIR")
    add.add_argument("file", type=Path, metavar="FILE.jsonl", help="chunks, each with its id")
    add.add_argument(
        "--batch",
        type=number(1, 1_000_000),
        default=2_000,
        metavar="N",
        help="chunks that become visible, and durable, at once; default 2000",
    )
    delete = add_command(actions, "delete", "delete chunks from an index", _delete)
    delete.add_argument("directory", type=Path, metavar="DIR")
    delete.add_argument("ids", nargs="+", metavar="ID")
    compact = add_command(
        actions,
        "compact",
        "merge the segments of an index into as few as can be, and drop deleted chunks",
        _compact,
    )
    compact.add_argument("directory", type=Path, metavar="DIR")


def _add(args: argparse.Namespace) -> int:
    from dtrag_core.datasets.jsonl import read_chunks
    from dtrag_core.index.compaction import Compaction
    from dtrag_core.index.writer import IndexWriter

    chunks, done = read_chunks(args.file), 0
    with (
        IndexWriter(args.directory) as writer,
        Compaction(writer) as compaction,
        shown_progress() as progress,
    ):
        while batch := list(islice(chunks, int(args.batch))):
            manifest = writer.add(batch)
            compaction.wake()
            done += len(batch)
            progress("adding", done, None)
        manifest = writer.manifest
    say(f"{done:,} added; {args.directory} holds {manifest.chunks:,} chunks")
    return ExitCode.DONE


def _delete(args: argparse.Namespace) -> int:
    from dtrag_core.index.writer import IndexWriter

    with IndexWriter(args.directory) as writer:
        gone = writer.delete(args.ids)
        left = writer.manifest.chunks
    say(f"{gone:,} of {len(set(args.ids)):,} deleted; {args.directory} holds {left:,} chunks")
    return ExitCode.DONE


def _compact(args: argparse.Namespace) -> int:
    from dtrag_core.index.centroids import list_count, outgrown
    from dtrag_core.index.snapshot import open_snapshot
    from dtrag_core.index.writer import IndexWriter

    with IndexWriter(args.directory) as writer:
        before = writer.manifest
        writer.compact_fully()
        after = writer.manifest
    dropped = before.rows - after.rows
    say(
        f"{args.directory}: {len(before.segments)} segments are now {len(after.segments)}, "
        f"{dropped:,} deleted chunks are gone from them"
    )
    lists = open_snapshot(args.directory).ivf.lists
    if outgrown(lists, after.chunks):
        say(
            f"its vectors' lists ({lists:,}) were chosen when it was built for far fewer than its "
            f"{after.chunks:,} chunks; built again from all of them (dtrag index build) it would "
            f"have {list_count(after.chunks):,}, tuned to the recall floor anew"
        )
    return ExitCode.DONE

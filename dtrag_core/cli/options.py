"""Options that several commands share."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtrag_core.config import BM25Settings

if TYPE_CHECKING:
    from dtrag_core.datasets.base import Dataset
    from dtrag_core.types import Progress

Commands = Any  # what `add_subparsers` returns has no public name
Run = Any


def add_command(
    commands: Commands, name: str, summary: str, run: Run, examples: str = ""
) -> argparse.ArgumentParser:
    """Add a command that `run(args) -> int` carries out; `--help` closes with the examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a reader of numbers in low..high, for argparse."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no number in {low:g}..{high:g}")
        return value

    return read


def seed(text: str) -> int:
    """Read a seed, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 up")
    return int(text)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument(
        "--json", action="store_true", help="print JSON, and nothing else, to stdout"
    )


def add_index_choice(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add `--dataset`, `--embedder`, `--k1` and `--b`, which together name an index."""
    parser.add_argument(
        "--dataset",
        metavar="SPEC",
        required=required,
        help="pydocs, beir:DIR, jsonl:FILE or synthetic:N (see: dtrag datasets)",
    )
    parser.add_argument(
        "--embedder",
        metavar="SPEC",
        help="default: the one the dataset is best used with (see: dtrag embedders)",
    )
    default = BM25Settings()
    parser.add_argument(
        "--k1", type=number(0, 100), default=default.k1, help=f"of BM25, default {default.k1:g}"
    )
    parser.add_argument(
        "--b", type=number(0, 1), default=default.b, help=f"of BM25, default {default.b:g}"
    )


def bm25_of(args: argparse.Namespace) -> BM25Settings:
    """Return the BM25 settings that were asked for."""
    return BM25Settings(args.k1, args.b)


def prepared(args: argparse.Namespace, progress: "Progress") -> "tuple[Dataset, Path]":
    """Open the dataset that was asked for, and return it with its index, built if there is none."""
    from dtrag_core.datasets.registry import open_dataset
    from dtrag_core.workbench import prepare

    dataset = open_dataset(args.dataset)
    return dataset, prepare(dataset, args.embedder, bm25_of(args), progress=progress)

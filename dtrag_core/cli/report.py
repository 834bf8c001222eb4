"""`dtrag report`: runs the report notebook, prints the verdicts and where the page is."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dtrag_core.cli.bench import add_gate, add_rounds_and_rates
from dtrag_core.cli.exit_codes import ExitCode, gate_code
from dtrag_core.cli.options import Commands, add_command, seed
from dtrag_core.cli.output import say
from dtrag_core.cli.progress import shown_progress

_EXAMPLES = """\
  dtrag report                                        about five minutes on the default corpus
  dtrag report --dataset synthetic --size 100000 --gate
  dtrag report --dataset beir:scifact --embedder minilm -p load_seconds=60.0
"""
_PARAMETERS: Final = ("dataset", "size", "embedder", "rounds", "rates", "seed")


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "report", "measure, and write a report with every figure", _report, _EXAMPLES
    )
    unset = argparse.SUPPRESS
    parser.add_argument(
        "--dataset", metavar="SPEC", default="pydocs", help="default pydocs (see: dtrag datasets)"
    )
    parser.add_argument(
        "--size", type=int, metavar="N", default=unset, help="chunks, of --dataset synthetic"
    )
    parser.add_argument("--embedder", metavar="SPEC", default=unset, help="see: dtrag embedders")
    add_rounds_and_rates(parser)
    parser.add_argument("--seed", type=seed, metavar="N", default=unset)
    parser.add_argument(
        "-p",
        dest="more",
        action="append",
        type=parameter,
        default=[],
        metavar="NAME=VALUE",
        help="any parameter of the notebook, its value as JSON or text; may be repeated",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("reports"), help="default: reports"
    )
    add_gate(parser)


def parameter(text: str) -> tuple[str, Any]:
    """Return name and value of `NAME=VALUE`; what is not JSON is text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _check_values(parameters: Mapping[str, Any]) -> None:
    """Raise what the notebook would, before anything runs."""
    from dtrag_core.bench.settings import MeasureSettings
    from dtrag_core.datasets.registry import open_dataset
    from dtrag_core.embedding.registry import embedder_info
    from dtrag_core.errors import InvalidRequestError

    dataset, size = parameters.get("dataset", "pydocs"), parameters.get("size")
    if size is not None and dataset != "synthetic":
        raise InvalidRequestError(f"size {size} goes with the dataset synthetic, not {dataset}")
    open_dataset(dataset if size is None else f"{dataset}:{size}")
    if parameters.get("embedder") is not None:
        embedder_info(parameters["embedder"])
    given = {
        name: parameters[name]
        for name in ("rounds", "load_seconds", "capacity_seconds", "ingest_seconds", "seed")
        if name in parameters
    }
    if "rates" in parameters:
        given["rates"] = tuple(parameters["rates"])
    MeasureSettings(**given)


def _report(args: argparse.Namespace) -> int:
    from dtrag_core.bench.results import FILE_NAME, read_result
    from dtrag_core.cli.verdicts import verdict_table
    from dtrag_core.report.html import PAGE
    from dtrag_core.report.run import check_parameters, find_notebook, known_parameters, run_report

    parameters = {name: getattr(args, name) for name in _PARAMETERS if hasattr(args, name)}
    if "rates" in parameters:
        parameters["rates"] = list(parameters["rates"])
    parameters.update(args.more)
    check_parameters(parameters, known_parameters(find_notebook()))
    _check_values(parameters)
    with shown_progress() as progress:
        folder = run_report(parameters, args.out, progress)
    result = read_result(folder)
    say(verdict_table(result))
    say(f"result: {folder / FILE_NAME}")
    say(f"report: {folder / PAGE}")
    return gate_code(result["targets"]) if args.gate else ExitCode.DONE

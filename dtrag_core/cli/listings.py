"""`dtrag datasets` and `dtrag embedders`: what can be named."""

import argparse
from dataclasses import asdict

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import Commands, add_command, add_json
from dtrag_core.cli.output import say, say_json, table


def register(commands: Commands) -> None:
    """Add the commands."""
    add_json(
        add_command(commands, "datasets", "list the datasets and what each is good for", _datasets)
    )
    add_json(
        add_command(
            commands, "embedders", "list the embedders and what each is good for", _embedders
        )
    )


def _datasets(args: argparse.Namespace) -> int:
    from dtrag_core.datasets.registry import describe_datasets

    known = describe_datasets()
    if args.json:
        say_json([asdict(each) for each in known])
    else:
        say(table(("dataset", "good for"), [(each.form, each.caveat) for each in known]))
    return ExitCode.DONE


def _embedders(args: argparse.Namespace) -> int:
    from dtrag_core.embedding.registry import describe_embedders

    known = describe_embedders()
    if args.json:
        say_json([asdict(each) for each in known])
    else:
        rows = [(each.form, each.extra or "-", each.good_for) for each in known]
        say(table(("embedder", "extra", "good for"), rows))
    return ExitCode.DONE

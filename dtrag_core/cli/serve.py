"""`dtrag serve`: the HTTP service over an index."""

import argparse
import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import Commands, add_command, add_index_choice, number, prepared
from dtrag_core.cli.output import note, say
from dtrag_core.cli.progress import shown_progress
from dtrag_core.config import cache_root
from dtrag_core.errors import InvalidRequestError

if TYPE_CHECKING:
    from dtrag_core.api.settings import ServiceSettings

_EXAMPLES: Final = """\
  dtrag serve --dataset pydocs
  dtrag serve notes-index --workers 2 --port 8080
  dtrag keys add phone --rate 5 && dtrag serve notes-index --host 0.0.0.0
"""


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "serve", "answer searches over HTTP until interrupted", _serve, _EXAMPLES
    )
    parser.add_argument(
        "directory", type=Path, nargs="?", metavar="INDEX_DIR", help="or name a --dataset"
    )
    add_index_choice(parser, required=False)
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument(
        "--port", type=number(0, 65_535), default=8080, help="default 8080; 0: any free one"
    )
    parser.add_argument(
        "--workers", type=number(1, 256), default=1, metavar="N", help="processes, default 1"
    )
    parser.add_argument(
        "--cache",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep answers (default: yes)",
    )
    parser.add_argument(
        "--cache-size",
        type=number(1, 10_000_000),
        default=10_000,
        metavar="N",
        help="answers kept, default 10,000",
    )
    parser.add_argument(
        "--batch-size",
        type=number(1, 1_024),
        default=16,
        metavar="N",
        help="searches computed together at most, default 32",
    )
    parser.add_argument("--no-batching", action="store_true", help="compute every search by itself")
    parser.add_argument(
        "--keys", type=Path, metavar="FILE", help="API keys, default $DTRAG_HOME/keys.json"
    )
    parser.add_argument(
        "--auth",
        action=argparse.BooleanOptionalAction,
        help="ask for API keys (default: unless --host is this machine only)",
    )
    parser.add_argument(
        "--jobs", type=Path, metavar="FILE", help="batch jobs, default beside the index"
    )
    parser.add_argument(
        "--timeout",
        type=number(0.001, 60),
        default=10.0,
        metavar="S",
        help="of requests that name none, default 10 s",
    )
    parser.add_argument(
        "--expose-queries",
        action="store_true",
        help="hand out the dataset's queries at GET /queries, for load tests",
    )


def _serve(args: argparse.Namespace) -> int:
    from dtrag_core.api.listening import listen, url_of

    settings = _settings(args)
    workers = int(args.workers)
    with listen(args.host, int(args.port)) as listener:

        def ready() -> None:
            say(url_of(listener))
            _flush()

        if workers == 1:
            from dtrag_core.api.serve import serve

            serve(settings, listener, ready)
        else:
            from dtrag_core.api.supervisor import serve_with_workers

            serve_with_workers(settings, listener, workers, ready)
    return ExitCode.DONE


def _settings(args: argparse.Namespace) -> "ServiceSettings":
    from dtrag_core.api.settings import ServiceSettings

    if (args.directory is None) == (args.dataset is None):
        raise InvalidRequestError("say what to serve: INDEX_DIR, or --dataset SPEC")
    if args.expose_queries and args.dataset is None:
        raise InvalidRequestError("--expose-queries needs a --dataset: an index has no queries")
    keys = _keys(args)
    directory, queries = args.directory, None
    if directory is None:
        with shown_progress() as progress:
            dataset, directory = prepared(args, progress)
        queries = tuple(dataset.query_texts()) if args.expose_queries else None
    return ServiceSettings(
        directory,
        workers=int(args.workers),
        keys=keys,
        jobs=args.jobs,
        cache=int(args.cache_size) if args.cache else 0,
        batch_size=1 if args.no_batching else int(args.batch_size),
        timeout_s=args.timeout,
        queries=queries,
    )


def _keys(args: argparse.Namespace) -> Path | None:
    """Return the file of keys to ask for, or None if anyone may search."""
    from dtrag_core.api.keys import load_keys

    wanted = args.auth
    if wanted is None:
        wanted = args.keys is not None or not _is_local(args.host)
    if not wanted:
        if not _is_local(args.host):
            note(f"dtrag: {args.host} is open to everyone who can reach it (--no-auth)")
        return None
    file: Path = args.keys or cache_root() / "keys.json"
    if not file.exists() or not load_keys(file):
        raise InvalidRequestError(
            f"{args.host} asks for API keys, and {file} has none; add one (dtrag keys add NAME "
            f"--file {file}), or serve this machine only, or everyone (--no-auth)"
        )
    return file


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _flush() -> None:
    import sys

    sys.stdout.flush()

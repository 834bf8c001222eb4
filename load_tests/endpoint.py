"""A small HTTP endpoint over the search, for load tests on this machine: localhost only.

`POST /search` takes {"query": ...} with the options of `SearchDAO.hybrid_search` and answers with
the hits and how the search ran. `GET /queries` answers with the dataset's queries, to be sent.
Errors are JSON too: {"error": ...} with status 400 (the request), 404, 413 or 500 (the search).
"""

import argparse
import asyncio
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from dtrag_core.datasets.registry import open_dataset
from dtrag_core.errors import DtragError, MeasuringError, UsageError
from dtrag_core.search.dao import SearchDAO
from dtrag_core.types import SearchResult
from dtrag_core.workbench import open_dao, prepare

HOST: Final = "127.0.0.1"
MOST_BYTES: Final = 1 << 20
OPTIONS: Final[Mapping[str, type]] = {
    "query": str,
    "filters": dict,
    "topk": int,
    "bm25_topk": int,
    "vector_topk": int,
    "rerank_candidates": int,
    "mode": str,
}


class BadRequest(Exception):  # noqa: N818 (named as in HTTP)
    """A request that is no search; carries its status."""

    def __init__(self, problem: str, status: int = 400) -> None:
        super().__init__(problem)
        self.status = status


class Endpoint(ThreadingHTTPServer):
    """Serves one DAO: threads speak HTTP, all searches run on one event loop.

    Port 0 takes a free one. Raises MeasuringError if the port is in use, or without queries.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, dao: SearchDAO, queries: Sequence[str], port: int) -> None:
        if not queries:
            raise MeasuringError("the dataset has no queries to send; bring some, see the README")
        try:
            super().__init__((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", error)
            raise MeasuringError(
                f"port {port} cannot be used ({why}); name another, or 0 for a free one"
            ) from error
        self.dao = dao
        self.queries = tuple(queries)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="searches", daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.server_port}"

    def search(self, request: Mapping[str, Any]) -> SearchResult:
        """Search as the request says; raises what `hybrid_search` raises."""
        search = self.dao.hybrid_search(**request)
        return asyncio.run_coroutine_threadsafe(search, self.loop).result()


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Endpoint

    def do_GET(self) -> None:
        """Answer `GET /queries`."""
        if self.path == "/queries":
            self._answer(200, {"queries": self.server.queries})
        else:
            self._answer(404, {"error": f"nothing at GET {self.path}; there is GET /queries"})

    def do_POST(self) -> None:
        """Answer `POST /search`."""
        try:
            body = self._body()
            if self.path != "/search":
                raise BadRequest(f"nothing at POST {self.path}; there is POST /search", 404)
            result = self.server.search(parsed(body))
        except BadRequest as error:
            self._answer(error.status, {"error": str(error)})
        except UsageError as error:
            self._answer(400, {"error": str(error)})
        except Exception as error:
            self._answer(500, {"error": f"{type(error).__name__}: {error}"})
        else:
            self._answer(200, result.to_json())

    def log_message(self, *_: object) -> None:
        """Stay silent: a line a request would be load of its own."""

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            self.close_connection = True  # what follows cannot be told from the next request
            if length.isdecimal():
                raise BadRequest(f"{length} bytes are too many; at most {MOST_BYTES}", 413)
            raise BadRequest("the request has no Content-Length")
        return self.rfile.read(int(length))

    def _answer(self, status: int, content: Mapping[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def parsed(body: bytes) -> dict[str, Any]:
    """Return the arguments of a search from a request's body; BadRequest if they are none."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(request, dict) or "query" not in request:
        raise BadRequest('the body must be a JSON object with at least "query"')
    for name, value in request.items():
        if name not in OPTIONS:
            raise BadRequest(f"unknown option {name!r}; known: {', '.join(OPTIONS)}")
        if not isinstance(value, OPTIONS[name]) or isinstance(value, bool):
            raise BadRequest(f"{name} must be of type {OPTIONS[name].__name__}, got {value!r}")
    return request


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; the first line on standard output is the address."""
    parser = argparse.ArgumentParser(description="Serve POST /search on this machine.")
    parser.add_argument("--dataset", default="pydocs", help="see: dtrag datasets")
    parser.add_argument("--embedder", help="default: the one the dataset is best used with")
    parser.add_argument("--port", type=int, default=8090, help="0: any free one")
    args = parser.parse_args(argv)
    try:
        dataset = open_dataset(args.dataset)
        dao = open_dao(prepare(dataset, args.embedder))
        endpoint = Endpoint(dao, dataset.query_texts(), args.port)
    except DtragError as error:
        sys.stderr.write(f"endpoint: {error}\n")
        return 1
    sys.stdout.write(f"{endpoint.url}\n")
    sys.stdout.flush()
    try:
        endpoint.serve_forever()
    except KeyboardInterrupt:
        return 130
    finally:
        endpoint.server_close()
        dao.executor.close()
        dao.engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

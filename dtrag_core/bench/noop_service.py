"""An endpoint that searches nothing: what HTTP, validation and JSON cost by themselves.

`python -m dtrag_core.bench.noop_service` serves it as the service is served, on one process, and
prints its address as the first line.
"""

import argparse
import socket
import sys
from collections.abc import Sequence
from typing import Literal

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class NoopFilters(BaseModel):
    """As those of a search."""

    canonical_in: list[str] | None = None
    doc_type: list[str] | None = None


class NoopSearch(BaseModel):
    """As the body of a search."""

    query: str
    filters: NoopFilters | None = None
    topk: int = 5
    bm25_topk: int = 12
    vector_topk: int = 12
    rerank_candidates: int = 50
    mode: Literal["legacy", "optimized"] = "optimized"
    allow_degraded: bool = False


class NoopAnswer(BaseModel):
    """An answer without hits."""

    hits: list[str]
    mode: str
    degraded: bool
    from_cache: bool


def create_noop_app() -> FastAPI:
    """Return the application: `POST /search` checks its body and finds nothing."""
    app = FastAPI(title="No-op", docs_url=None, redoc_url=None)

    @app.post("/search")
    async def search(body: NoopSearch) -> NoopAnswer:
        return NoopAnswer(hits=[], mode=body.mode, degraded=False, from_cache=False)

    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description="Serve a POST /search that finds nothing.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    args = parser.parse_args(argv)
    with socket.create_server((args.host, args.port), backlog=2_048) as listening:
        sys.stdout.write(f"http://{args.host}:{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        config = uvicorn.Config(
            create_noop_app(), log_level="warning", access_log=False, lifespan="off"
        )
        uvicorn.Server(config).run(sockets=[listening])
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A stand-in for the service that speaks its contract over real sockets: no index, known delays.

`python double.py` prints its address, as `dtrag serve` does. Options make it refuse or stall.
"""

import argparse
import asyncio
import json
import socket
import sys
import time
from collections.abc import Sequence
from itertools import count
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

QUERIES = [f"query number {n} of the double" for n in range(200)]


class Double:
    """One request at a time, each `delay_s`; more than `queue` waiting are refused with 503.

    Once, `stall_at` s after the first search, nothing is answered for `stall_s`: the whole
    process stands still.
    """

    def __init__(self, delay_s: float, queue: int, stall_at: float, stall_s: float) -> None:
        self.delay_s = delay_s
        self.queue = queue
        self.stall_at = stall_at
        self.stall_s = stall_s
        self.first: float | None = None
        self.waiting = 0
        self.turn = asyncio.Lock()
        self.numbers = count()
        self.jobs: dict[str, int] = {}

    def stand_still(self) -> None:
        now = time.monotonic()
        self.first = self.first or now
        if self.stall_s and now - self.first >= self.stall_at:
            time.sleep(self.stall_s)
            self.stall_s = 0.0

    async def search(self, request: Request) -> JSONResponse:
        body = await request.json()
        if set(body) - {"query", "filters", "topk"} or not body["query"]:
            return problem(422, f"unknown fields in {body}")
        self.stand_still()
        if self.waiting >= self.queue:
            return problem(503, "too many wait", {"Retry-After": "1"})
        self.waiting += 1
        try:
            async with self.turn:
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
        finally:
            self.waiting -= 1
        return JSONResponse(answer(body))

    async def submit(self, request: Request) -> JSONResponse:
        body = await request.json()
        job = f"job-{next(self.numbers)}"
        self.jobs[job] = len(body["queries"])
        url = f"/api/v1/batch/status/{job}"
        told = {"job_id": job, "status": "queued", "total": self.jobs[job], "status_url": url}
        return JSONResponse(told, 202)

    async def status(self, request: Request) -> JSONResponse:
        job = request.path_params["job"]
        asked_again = self.jobs[job] < 0
        self.jobs[job] = -abs(self.jobs[job])
        return JSONResponse(
            {
                "job_id": job,
                "status": "completed" if asked_again else "running",
                "completed": abs(self.jobs[job]),
                "total": abs(self.jobs[job]),
                "results": [],
                "errors": [],
                "expires_at": None,
            }
        )

    async def queries(self, request: Request) -> JSONResponse:
        limit = int(request.query_params.get("limit", 100))
        return JSONResponse({"queries": QUERIES[:limit]})


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"status": status, "detail": detail}, status, headers)


def answer(body: dict[str, Any]) -> dict[str, Any]:
    hit = {"rank": 1, "id": "a", "score": 1.0, "bm25": 1.0, "cosine": 0.5, "title": "A"}
    hit |= {"text": json.dumps(body), "path": ["birds", "heron"], "doc_type": "note"}
    how = {"mode": "optimized", "degraded": False, "from_cache": False, "plan": "", "took_ms": 0.1}
    return {"hits": [hit], **how}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--queue", type=int, default=1_000)
    parser.add_argument("--stall-at", type=float, default=0.0)
    parser.add_argument("--stall", type=float, default=0.0)
    args = parser.parse_args(argv)
    double = Double(args.delay, args.queue, args.stall_at, args.stall)
    routes = [
        Route("/search", double.search, methods=["POST"]),
        Route("/api/v1/batch/search", double.submit, methods=["POST"]),
        Route("/api/v1/batch/status/{job}", double.status),
        Route("/queries", double.queries),
    ]
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as listening:
        sys.stdout.write(f"http://127.0.0.1:{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        app = Starlette(routes=routes)
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()

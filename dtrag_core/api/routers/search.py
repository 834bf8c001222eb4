"""`POST /search`, and `POST /search/stream` for many hits."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dtrag_core.api.exchange import Exchange, exchange_of
from dtrag_core.api.json_route import JsonRoute, json_response
from dtrag_core.api.openapi import problems
from dtrag_core.api.problems import logged_problem
from dtrag_core.api.schemas import SearchAnswer, SearchBody, StreamBody
from dtrag_core.api.service import Service

NDJSON: Final = "application/x-ndjson"
_LINES: Final[dict[str, Any]] = {
    "description": "A line a hit, as in `hits` of /search; the last line is a StreamEnd: "
    '{"end": true, "hits": n, "degraded": false}. A stream without that line is broken.',
    "content": {NDJSON: {"schema": {"type": "string"}}},
}


def search_router(service: Service) -> APIRouter:
    """Return the routes that search at once."""
    router = APIRouter(route_class=JsonRoute, tags=["search"])

    @router.post(
        "/search",
        summary="Search",
        response_model=SearchAnswer,
        responses=problems(404),
    )
    async def search(body: SearchBody, request: Request) -> Response:
        deadline = exchange_of(request.scope).deadline
        return json_response(await service.search(body, deadline))

    @router.post(
        "/search/stream",
        summary="Stream many hits",
        response_class=StreamingResponse,
        responses={200: _LINES, **problems(404)},
    )
    async def stream(body: StreamBody, request: Request) -> Response:
        parts = service.computing.stream(body.query, service.wanted(body))
        first = await anext(parts)  # what cannot be is told before an answer begins
        lines = _lines(first, parts, exchange_of(request.scope))
        return StreamingResponse(lines, media_type=NDJSON)

    return router


async def _lines(
    first: bytes, parts: AsyncGenerator[bytes, None], exchange: Exchange
) -> AsyncIterator[bytes]:
    hits = first.count(b"\n")
    async with aclosing(parts):
        yield first
        try:
            async for part in parts:
                hits += part.count(b"\n")
                yield part
        except Exception as error:
            problem = logged_problem(error, f"request {exchange.request_id}")
            told = problem.to_json(exchange.request_id, "/search/stream")
            yield orjson.dumps({"end": True, "hits": hits, "problem": told}) + b"\n"

"""`/health`, `/ready`, `/metrics`, and `/queries` for load tests."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse
from starlette.responses import Response

from dtrag_core import __version__
from dtrag_core.api.json_route import json_response
from dtrag_core.api.metrics import CONTENT_TYPE
from dtrag_core.api.observing import observe
from dtrag_core.api.openapi import problems
from dtrag_core.api.schemas import Health, Queries, Ready
from dtrag_core.api.service import Service

_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {"model": Ready, "description": "A breaker is open, or the service stops."}
}


def health_router(service: Service) -> APIRouter:
    """Return the routes that tell how the service is."""
    router = APIRouter(tags=["health"])

    @router.get("/health", summary="The process lives")
    async def health() -> Health:
        return Health(status="ok", version=__version__)

    @router.get(
        "/ready", summary="Searches are answered", response_model=Ready, responses=_NOT_READY
    )
    async def ready() -> Response:
        state = service.readiness()
        return json_response(state.model_dump_json().encode(), 200 if state.ready else 503)

    @router.get(
        "/metrics", summary="Prometheus metrics of all workers", response_class=PlainTextResponse
    )
    async def metrics() -> Response:
        observe(service)
        return Response(service.metrics.render(), media_type=CONTENT_TYPE)

    return router


def query_router(texts: tuple[str, ...]) -> APIRouter:
    """Return the route that hands out queries to load tests."""
    router = APIRouter(tags=["load tests"])

    @router.get("/queries", summary="Queries of the dataset", responses=problems(422, body=False))
    async def queries(limit: Annotated[int, Query(ge=1, le=1_000_000)] = 1_000) -> Queries:
        return Queries(queries=list(texts[:limit]))

    return router

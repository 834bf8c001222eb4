"""The application factory: everything is built here, nothing at import."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dtrag_core import __version__
from dtrag_core.api.admission import Admission
from dtrag_core.api.exchange import exchange_of
from dtrag_core.api.json_route import Direct, JsonRoute
from dtrag_core.api.openapi import document
from dtrag_core.api.problems import invalid, logged_problem
from dtrag_core.api.routers.batch_search import batch_router
from dtrag_core.api.routers.chunks import chunk_router
from dtrag_core.api.routers.health import health_router, query_router
from dtrag_core.api.routers.search import search_router
from dtrag_core.api.service import Service
from dtrag_core.api.settings import ServiceSettings
from dtrag_core.errors import DtragError
from dtrag_core.search.dao import SearchDAO


def create_app(settings: ServiceSettings, dao: SearchDAO | None = None) -> Admission:
    """Return the service as an ASGI application; what it needs is opened here.

    `dao` searches in the place of one opened from the settings. Raises as `Service` does.
    """
    service = Service(settings, dao)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(
        title="DT-RAG search",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
    )
    routers = [
        search_router(service),
        batch_router(service),
        chunk_router(service),
        health_router(service),
    ]
    if settings.queries is not None:
        routers.append(query_router(settings.queries))
    direct: dict[tuple[str, str], Direct] = {}
    for router in routers:
        app.include_router(router)
        for route in router.routes:
            if isinstance(route, JsonRoute):
                direct.update(
                    {(method, route.path): route.direct() for method in route.methods or ()}
                )
    for kind in (DtragError, ValidationError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _tell)
    _describe(app, keyed=settings.keys is not None)
    return Admission(app, direct, service)


async def _tell(request: Request, error: Exception) -> Response:
    exchange = exchange_of(request.scope)
    if isinstance(error, RequestValidationError):
        problem = invalid(error.errors())
    else:
        problem = logged_problem(error, f"request {exchange.request_id}")
    status, headers, body = exchange.problem(problem)
    response = Response(body, status)
    response.raw_headers = headers
    return response


def _describe(app: FastAPI, *, keyed: bool) -> None:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app, keyed=keyed)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

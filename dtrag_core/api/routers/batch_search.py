"""`POST /api/v1/batch/search` and the jobs it makes."""

from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from dtrag_core.api.exchange import exchange_of
from dtrag_core.api.json_route import JsonRoute, json_response
from dtrag_core.api.openapi import problems
from dtrag_core.api.schemas import MAX_SHOWN, BatchBody, JobAccepted, JobAnswer
from dtrag_core.api.service import Service

PREFIX: Final = "/api/v1/batch"
JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="as accepted")]


def batch_router(service: Service) -> APIRouter:
    """Return the routes of batch jobs."""
    router = APIRouter(tags=["batch"])

    async def submit(body: BatchBody, request: Request) -> Response:
        job_id = await service.jobs.submit(body, exchange_of(request.scope).key)
        accepted = {
            "job_id": job_id,
            "status": "queued",
            "total": len(body.queries),
            "status_url": f"{PREFIX}/status/{job_id}",
        }
        return json_response(orjson.dumps(accepted), 202)

    router.add_api_route(
        f"{PREFIX}/search",
        submit,
        methods=["POST"],
        summary="Have many searches answered later",
        status_code=202,
        response_model=JobAccepted,
        responses=problems(),
        route_class_override=JsonRoute,
    )

    @router.get(
        f"{PREFIX}/status/{{job_id}}",
        summary="How far a job is, and its results",
        response_model=JobAnswer,
        responses=problems(404, 422, 500, 503, body=False),
    )
    async def status(
        request: Request,
        job_id: JobId,
        offset: Annotated[int, Query(ge=0, le=1_000_000, description="first query shown")] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_SHOWN, description="queries shown")] = MAX_SHOWN,
    ) -> Response:
        key = exchange_of(request.scope).key
        return json_response(await service.jobs.status(job_id, key, offset, limit))

    @router.delete(
        f"{PREFIX}/{{job_id}}",
        summary="Cancel a job",
        response_model=JobAnswer,
        responses=problems(404, 422, 500, 503, body=False),
    )
    async def cancel(request: Request, job_id: JobId) -> Response:
        return json_response(await service.jobs.cancel(job_id, exchange_of(request.scope).key))

    return router

"""`POST /chunks` and `POST /chunks/delete`: changing the index; answered when it is durable."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from dtrag_core.api.exchange import exchange_of
from dtrag_core.api.json_route import JsonRoute, json_response
from dtrag_core.api.openapi import problems
from dtrag_core.api.schemas import ChunksBody, DeleteBody, WrittenAnswer
from dtrag_core.api.service import Service
from dtrag_core.api.writing import Written


def chunk_router(service: Service) -> APIRouter:
    """Return the routes that change the index."""
    router = APIRouter(route_class=JsonRoute, tags=["chunks"])

    @router.post(
        "/chunks",
        summary="Add or replace chunks",
        response_model=WrittenAnswer,
        responses=problems(),
    )
    async def add(body: ChunksBody, request: Request) -> Response:
        chunks = [chunk.chunk() for chunk in body.chunks]
        return _told(await service.writing.add(chunks, exchange_of(request.scope).deadline))

    @router.post(
        "/chunks/delete",
        summary="Delete chunks",
        response_model=WrittenAnswer,
        responses=problems(),
    )
    async def delete(body: DeleteBody, request: Request) -> Response:
        deadline = exchange_of(request.scope).deadline
        return _told(await service.writing.delete(body.ids, deadline))

    return router


def _told(written: Written) -> Response:
    manifest = written.manifest
    answer = WrittenAnswer(
        changed=written.changed, generation=manifest.generation, chunks=manifest.chunks
    )
    return json_response(answer.model_dump_json().encode())

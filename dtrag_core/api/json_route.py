"""Routes with a JSON body that is read and checked once, straight from its bytes."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast, get_type_hints

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dtrag_core.api.problems import Problem, RequestError, problem_of

Endpoint = Callable[[Any, Request], Awaitable[Response]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Direct = Callable[[Scope, bytes, Receive, Send], Awaitable[None]]


class JsonRoute(APIRoute):
    """Calls `endpoint(body, request)` with a checked body; the signature is for OpenAPI, too.

    FastAPI would parse the body to objects and check those, and solve dependencies: several times
    the cost of all the rest. Raises RequestError for a body that is none.
    """

    def get_route_handler(self) -> Handler:
        """Return what answers a request."""
        endpoint = self._checked()

        async def handle(request: Request) -> Response:
            return await endpoint(await request.body(), request)

        return handle

    def direct(self) -> Direct:
        """Return what answers a body without the framework's layers; errors go up."""
        endpoint = self._checked()

        async def answer(scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
            response = await endpoint(body, Request(scope, receive))
            await response(scope, receive, send)

        return answer

    def _checked(self) -> Callable[[bytes, Request], Awaitable[Response]]:
        """Return the endpoint, given bytes."""
        endpoint = cast(Endpoint, self.endpoint)
        model: type[BaseModel] = get_type_hints(self.endpoint)["body"]

        def parsed(written: bytes, request: Request) -> Awaitable[Response]:
            _check_type(request.scope)
            try:
                body = model.model_validate_json(written)
            except ValidationError as error:
                raise RequestError(problem_of(error)) from None
            return endpoint(body, request)

        return parsed


def json_response(content: bytes, status: int = 200) -> Response:
    """Return an answer of JSON bytes."""
    return Response(content, status, media_type="application/json")


def _check_type(scope: Scope) -> None:
    given = b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            given = value.partition(b";")[0].strip().lower()
        elif name == b"content-encoding" and value.lower() != b"identity":
            given = b"compressed"
    if given != b"application/json":
        detail = "the body must be JSON: send Content-Type: application/json, uncompressed"
        raise RequestError(Problem(415, "unsupported-media-type", detail))

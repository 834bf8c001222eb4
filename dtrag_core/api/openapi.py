"""What OpenAPI says beside the bodies: problems, keys and the headers of requests."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from dtrag_core.api.schemas import ProblemBody

DESCRIPTION: Final = """\
Hybrid search (BM25 and vectors) over chunks with a place in a taxonomy. Errors are problem details
(RFC 9457); every answer carries `X-Request-Id`, and those with 429 or 503 `Retry-After`. What is
sent with a body may say by the header `X-Timeout-Ms` (1 to 60000) how long it waits for the answer;
what takes longer is given up, with 504.
"""
_WHY: Final[Mapping[int, str]] = {
    401: "No valid API key.",
    403: "This key may not do that.",
    404: "There is no such job, or no chunk with such a path or type.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The request does not fit the schema, or cannot be.",
    429: "More requests than the key may send.",
    500: "The service failed.",
    503: "Overloaded, or something it needs is failing; try again later.",
    504: "There was no answer before the deadline.",
}
_BODY_PROBLEMS: Final = (408, 413, 415, 422, 500, 503, 504)


def problems(*more: int, body: bool = True) -> dict[int | str, dict[str, Any]]:
    """Return how a route's errors are described: those of any body, if it has one, and more."""
    reference = {"$ref": "#/components/schemas/ProblemBody"}
    statuses = sorted({*more, *(_BODY_PROBLEMS if body else ())})
    return {
        status: {
            "description": _WHY[status],
            "content": {"application/problem+json": {"schema": reference}},
        }
        for status in statuses
    }


def document(app: FastAPI, *, keyed: bool) -> dict[str, Any]:
    """Return the OpenAPI document; with keys, every route but /health and /ready asks for one."""
    openapi = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
    )
    schemas = openapi["components"]["schemas"]
    problem = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["ProblemBody"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if keyed:
        openapi["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        for path, operations in openapi["paths"].items():
            if path not in ("/health", "/ready"):
                for operation in operations.values():
                    operation["security"] = [{"bearer": []}, {"header": []}]
                    operation["responses"].update(
                        {
                            str(key): value
                            for key, value in problems(401, 403, 429, body=False).items()
                        }
                    )
    return openapi

"""The OpenAPI document and what the service does agree, whatever is sent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

Schema = Any
OPERATIONS = [
    ("POST", "/search"),
    ("POST", "/search/stream"),
    ("POST", "/api/v1/batch/search"),
    ("GET", "/api/v1/batch/status/{job_id}"),
    ("DELETE", "/api/v1/batch/{job_id}"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/metrics"),
]


@pytest.fixture(scope="module")
def document(serve: Callable[..., Any], small_index: Path) -> Schema:
    """What a service says of itself."""
    return schemathesis.openapi.from_url(f"{serve(small_index).url}/openapi.json")


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_answer_contradicts_the_document(
    document: Schema, method: str, path: str, mode: GenerationMode
) -> None:
    operation = document[path][method]
    if mode is GenerationMode.NEGATIVE and path in ("/health", "/ready", "/metrics"):
        pytest.skip("there is nothing to get wrong")

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=15, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    def check(case: Schema) -> None:
        case.call_and_validate()

    check()

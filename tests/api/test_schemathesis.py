"""The OpenAPI document and what the service does agree, whatever is sent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings


@pytest.fixture(scope="module")
def document(serve: Callable[..., Any], small_index: Path) -> Any:
    """What a service says of itself."""
    return schemathesis.openapi.from_url(f"{serve(small_index).url}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


@schema.exclude(path_regex="^/chunks").parametrize()
@settings(max_examples=20, suppress_health_check=list(HealthCheck), derandomize=True)
def test_no_answer_contradicts_the_document(case: schemathesis.Case) -> None:
    case.call_and_validate()

"""What each route answers, and what it says of requests it cannot answer."""

import json
import time
from typing import Any

import httpx
import pytest

from dtrag_core.api.schemas import JobAnswer, ProblemBody, Ready, SearchAnswer

Service = Any  # see conftest, which cannot be imported


def problem(answer: httpx.Response, status: int) -> ProblemBody:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = ProblemBody.model_validate(answer.json())
    assert told.status == status
    assert told.request_id == answer.headers["x-request-id"]
    return told


def test_a_search_answers_as_the_dao_does(service: Service) -> None:
    answer = service.post(
        "/search",
        query="read lines of a file",
        filters={"canonical_in": ["python/io"], "doc_type": ["class"]},
        topk=3,
        mode="legacy",
    )

    found = SearchAnswer.model_validate(answer.json())
    assert [hit.rank for hit in found.hits] == [1, 2, 3]
    assert all(hit.path == ["python", "io"] and hit.doc_type == "class" for hit in found.hits)
    assert (found.mode, found.degraded, found.from_cache) == ("legacy", False, False)

    expected = service.run(
        service.app.service.dao.hybrid_search(
            "read lines of a file",
            {"canonical_in": ["python/io"], "doc_type": ["class"]},
            3,
            mode="legacy",
        )
    )
    assert [hit.id for hit in found.hits] == [hit.id for hit in expected.hits]
    assert [hit.score for hit in found.hits] == [hit.score for hit in expected.hits]


def test_an_answer_given_before_is_kept_and_says_so(service: Service) -> None:
    first, second = (service.post("/search", query="parse a date").json() for _ in range(2))

    assert (first["from_cache"], second["from_cache"]) == (False, True)
    assert first["hits"] == second["hits"]


def test_topk_is_cut_to_the_corpus(service: Service) -> None:
    chunks = Ready.model_validate(service.ask("GET", "/ready").json()).chunks
    lines = [
        json.loads(line)
        for line in service.post("/search/stream", query="file", topk=100_000).text.splitlines()
    ]

    assert lines[-1] == {"end": True, "hits": chunks, "degraded": False}
    assert [line["rank"] for line in lines[:-1]] == list(range(1, chunks + 1))
    assert len(service.post("/search", query="file", topk=1_000).json()["hits"]) == 1_000


def test_every_answer_has_a_request_id_and_takes_the_client_s(service: Service) -> None:
    given = service.ask("GET", "/health", headers={"X-Request-Id": "mine-1"})
    odd = service.ask("GET", "/health", headers={"X-Request-Id": 'a"b'})

    assert given.headers["x-request-id"] == "mine-1"
    assert odd.headers["x-request-id"] not in ("", 'a"b')


def ended(service: Service, url: str) -> JobAnswer:
    for _ in range(400):
        job = JobAnswer.model_validate(service.ask("GET", url).json())
        if job.status not in ("queued", "running"):
            return job
        time.sleep(0.02)
    raise AssertionError(job)


def test_a_batch_is_accepted_and_answered(service: Service) -> None:
    searches = ["parse a date", {"query": "open a file", "topk": 1}, "sort a list"]
    accepted = service.post("/api/v1/batch/search", queries=searches, topk=2)
    assert accepted.status_code == 202
    assert accepted.json()["total"] == 3

    job = ended(service, accepted.json()["status_url"])

    assert (job.status, job.completed, job.errors) == ("completed", 3, [])
    assert [(each.index, len(each.hits)) for each in job.results] == [(0, 2), (1, 1), (2, 2)]
    direct = service.post("/search", query="sort a list", topk=2).json()
    assert [hit.id for hit in job.results[2].hits] == [hit["id"] for hit in direct["hits"]]
    part = service.ask("GET", f"{accepted.json()['status_url']}?offset=1&limit=1").json()
    assert [each["index"] for each in part["results"]] == [1]


def test_a_job_is_cancelled_and_says_so(service: Service) -> None:
    job = service.post("/api/v1/batch/search", queries=["parse a date"] * 500).json()["job_id"]

    said = JobAnswer.model_validate(service.ask("DELETE", f"/api/v1/batch/{job}").json())

    assert said.status in ("cancelled", "completed")  # it may have been quicker
    assert ended(service, f"/api/v1/batch/status/{job}").status == said.status
    problem(service.ask("DELETE", f"/api/v1/batch/{'0' * 32}"), 404)


def test_queries_are_handed_out(service: Service) -> None:
    assert service.ask("GET", "/queries?limit=2").json() == {"queries": ["first", "second"]}


def test_metrics_tell_of_requests_legs_and_state(service: Service) -> None:
    service.post("/search", query="something new to compute")
    text = service.ask("GET", "/metrics").text

    for line in (
        'dtrag_request_seconds_count{route="/search",status="200"}',
        'dtrag_leg_seconds_count{leg="bm25"}',
        'dtrag_leg_seconds_count{leg="vector"}',
        'dtrag_cache_lookups_total{source="miss"}',
        'dtrag_level{level="limit",part="search"}',
        'dtrag_breaker_state{breaker="search"} 0.0',
        "dtrag_index_generation 1.0",
    ):
        assert line in text


BAD = {
    "no JSON": b"{",
    "no object": b"[]",
    "not UTF-8": b'{"query": "\xff"}',
    "half a surrogate pair": b'{"query": "\\ud800"}',
    "deep": b'{"query": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "no query": b"{}",
    "empty": b'{"query": ""}',
    "blank": b'{"query": " \\t\\n\\u001c "}',
    "too long": json.dumps({"query": "x" * 10_001}).encode(),
    "unknown field": b'{"query": "x", "top": 1}',
    "text for a number": b'{"query": "x", "topk": "1"}',
    "true for a number": b'{"query": "x", "topk": true}',
    "too many": b'{"query": "x", "topk": 1001}',
    "a huge number": b'{"query": "x", "topk": 1' + b"0" * 400 + b"}",
    "infinity": b'{"query": "x", "topk": 1e999}',
    "no mode": b'{"query": "x", "mode": "fast"}',
    "an empty path": b'{"query": "x", "filters": {"canonical_in": ["a//b"]}}',
    "no filter": b'{"query": "x", "filters": {"year": ["1"]}}',
    "an empty filter": b'{"query": "x", "filters": {"doc_type": []}}',
}
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("path", ["/search", "/search/stream"])
def test_a_bad_body_is_a_problem(service: Service, path: str, body: bytes) -> None:
    if path == "/search/stream":
        body = body.replace(b"1001", b"100001")
    told = problem(service.ask("POST", path, content=body, headers=JSON), 422)
    assert told.errors
    assert len(told.detail) < 1_000


def test_what_is_odd_but_good_is_answered(service: Service) -> None:
    for body in (b'{"query": "\\u0000"}', b'{"query": "x", "filters": null}', b'{"query": "?!"}'):
        assert service.ask("POST", "/search", content=body, headers=JSON).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/search", {}, 405),
        ("BREW", "/search", {}, 405),
        ("GET", "/nowhere", {}, 404),
        ("POST", "/search/", {}, 404),
        ("POST", "/search", {"content": b"{}", "headers": {"content-type": "text/xml"}}, 415),
        ("POST", "/search", {"content": b"{}"}, 415),
        ("POST", "/search", {"content": b"{}", "headers": {**JSON, "x-timeout-ms": "0"}}, 422),
        ("POST", "/search", {"content": b"{}", "headers": {**JSON, "x-timeout-ms": "1e3"}}, 422),
        ("POST", "/search", {"content": b" " * ((1 << 20) + 1), "headers": JSON}, 413),
        ("GET", "/api/v1/batch/status/1", {}, 422),
        ("GET", f"/api/v1/batch/status/{'0' * 32}", {}, 404),
        ("GET", f"/api/v1/batch/status/{'0' * 32}?limit=101", {}, 422),
    ],
)
def test_other_mistakes_are_problems(
    service: Service, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    told = service.ask(method, path, **options)
    problem(told, status)
    assert ("allow" in told.headers) == (status == 405)


def test_a_filter_that_matches_nothing_is_told_apart(service: Service) -> None:
    for filters in ({"canonical_in": ["python/none"]}, {"doc_type": ["none"]}):
        told = service.post("/search", query="file", filters=filters)
        assert "none" in problem(told, 404).detail

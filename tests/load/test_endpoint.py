"""The local endpoint: searches over HTTP, and errors a client can read."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ENDPOINT = ROOT / "load_tests" / "endpoint.py"
LOCUSTFILE = ROOT / "load_tests" / "locustfile.py"
CHUNKS = 40
Answer = tuple[int, dict[str, Any]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with known items, so that there are queries to send."""
    folder = tmp_path_factory.mktemp("corpus")
    birds = ("wren", "heron", "robin", "swift", "crane", "finch", "egret", "stork")
    lines = [
        {
            "title": f"Sighting {n}",
            "path": f"birds/{birds[n % 8]}",
            "text": f"Sighting at pond {n}: the {birds[n % 8]} calls twice near reeds. "
            f"It left after {n} minutes towards the northern hills and the open sea.",
        }
        for n in range(CHUNKS)
    ]
    file = folder / "birds.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return file


def start(corpus: Path, port: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(ENDPOINT), "--dataset", f"jsonl:{corpus}", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DTRAG_HOME": str(corpus.parent / "home")},
    )


@pytest.fixture(scope="module")
def url(corpus: Path) -> Iterator[str]:
    """The address of a running endpoint."""
    with start(corpus, 0) as running:
        assert running.stdout
        yield running.stdout.readline().strip()
        running.terminate()


def send(url: str, method: str, path: str, body: str | None = None) -> Answer:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def search(url: str, **request: object) -> Answer:
    return send(url, "POST", "/search", json.dumps(request))


def test_it_searches_with_the_options_of_the_dao(url: str) -> None:
    filters = {"canonical_in": ["birds/heron"]}
    status, answer = search(url, query="heron near reeds", topk=3, filters=filters, mode="legacy")

    assert status == 200
    assert (answer["mode"], answer["degraded"]) == ("legacy", False)
    assert [hit["chunk"]["path"] for hit in answer["hits"]] == [["birds", "heron"]] * 3
    assert search(url, query="heron")[1]["mode"] == "optimized"


def test_it_hands_out_the_dataset_s_queries(url: str) -> None:
    status, answer = send(url, "GET", "/queries")

    assert status == 200
    assert len(answer["queries"]) == CHUNKS
    assert all("calls twice near reeds" in query for query in answer["queries"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{", "the body is not JSON"),
        ("[]", 'at least "query"'),
        ('{"topk": 3}', 'at least "query"'),
        ('{"query": ""}', "the query is empty"),
        ('{"query": "x", "top": 3}', "unknown option 'top'; known: query, filters, topk"),
        ('{"query": "x", "topk": "3"}', "topk must be of type int, got '3'"),
        ('{"query": "x", "topk": true}', "topk must be of type int, got True"),
        ('{"query": "x", "topk": 41}', "topk must be in 1..40"),
        ('{"query": "x", "mode": "fast"}', "unknown mode 'fast'"),
        ('{"query": "x", "filters": {"year": ["1"]}}', "unknown filter 'year'"),
        ('{"query": "x", "filters": {"canonical_in": ["fish"]}}', "'fish'"),
    ],
)
def test_a_bad_request_is_400_and_says_why(url: str, body: str, said: str) -> None:
    status, answer = send(url, "POST", "/search", body)

    assert status == 400
    assert said in answer["error"]


def test_other_addresses_and_huge_bodies_are_refused(url: str) -> None:
    assert send(url, "GET", "/search")[0] == 404
    assert send(url, "POST", "/find", "{}")[0] == 404
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/search")
    connection.putheader("Content-Length", str(1 << 30))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_port_in_use_is_named(url: str, corpus: Path) -> None:
    port = int(url.rsplit(":", 1)[1])

    with start(corpus, port) as second:
        said = second.communicate()[1]

    assert second.returncode == 1
    assert f"port {port} cannot be used (Address already in use)" in said
    assert len(said.splitlines()) == 1


def test_locust_sends_the_dataset_s_queries(url: str) -> None:
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", url, "--headless"]
    done = subprocess.run(
        [*command, "--users", "3", "--spawn-rate", "3", "--run-time", "2s", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    sent = {each["name"]: each for each in json.loads(done.stdout)}
    assert sent["/queries"]["num_requests"] == 3
    assert sent["/search"]["num_requests"] > 10
    assert sum(each["num_failures"] for each in sent.values()) == 0


def test_locust_counts_a_refused_search_as_failed(url: str, tmp_path: Path) -> None:
    asking_too_much = tmp_path / "locustfile.py"
    source = LOCUSTFILE.read_text().replace('{"query": query}', '{"query": query, "topk": 41}')
    asking_too_much.write_text(source)
    command = [sys.executable, "-m", "locust", "-f", str(asking_too_much), "--host", url]
    done = subprocess.run(
        [*command, "--headless", "--users", "1", "--run-time", "1s", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    searches = next(each for each in json.loads(done.stdout) if each["name"] == "/search")
    assert searches["num_failures"] == searches["num_requests"] > 0
    assert "topk must be in 1..40" in done.stderr

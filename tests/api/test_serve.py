"""`dtrag serve` as processes: workers that share everything, bad connections, and the end."""

import json
import os
import random
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from dtrag_core.api.keys import add_key

Json = Any
Serve = Callable[..., Any]
Served = Any


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def raw(served: Served, data: bytes) -> bytes:
    """Send bytes on a connection of their own, and return all that comes back."""
    with socket.create_connection(served.address, timeout=30) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        with suppress(ConnectionResetError):  # it closed without reading all of it
            while part := connection.recv(65_536):
                received += part
        return received


@pytest.fixture(scope="module")
def one(serve: Serve, small_index: Path) -> Served:
    """One process over the small corpus."""
    return serve(small_index)


@pytest.fixture(scope="module")
def own_index(small_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the index that may be changed."""
    return Path(shutil.copytree(small_index, tmp_path_factory.mktemp("own") / "index"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A file of keys, one without bound and one for five requests in all."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    return file, add_key(file, "free"), add_key(file, "five", rate=0.001, burst=5)


@pytest.fixture(scope="module")
def two(serve: Serve, own_index: Path, keys: tuple[Path, str, str]) -> Served:
    """Two worker processes that ask for keys."""
    return serve(own_index, "--workers", 2, "--keys", keys[0])


def ask(served: Served, key: str, path: str, body: Json = None) -> httpx.Response:
    """Ask on a connection of its own, so that any worker may answer."""
    headers = {"X-API-Key": key}
    if body is None:
        return httpx.get(served.url + path, headers=headers, timeout=30)
    return httpx.post(served.url + path, headers=headers, json=body, timeout=30)


def test_a_client_that_says_it_is_done_gets_an_answer_without_a_body(one: Served) -> None:
    for _ in range(20):
        answer = raw(one, b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 405 ")


def test_workers_share_limits_and_metrics(two: Served, keys: tuple[Path, str, str]) -> None:
    _, free, five = keys
    query = {"query": "open a file"}

    limited = [ask(two, five, "/search", query).status_code for _ in range(12)]
    assert sorted(limited) == [200] * 5 + [429] * 7

    ids = {ask(two, free, "/health").headers["x-request-id"][:12] for _ in range(60)}
    assert len(ids) == 2  # both answer
    metrics = [ask(two, free, "/metrics").text for _ in range(4)]
    count = 'dtrag_request_seconds_count{route="/search",status="429"} 7.0'
    assert all(count in text for text in metrics)


def test_every_worker_finds_what_was_added(two: Served, keys: tuple[Path, str, str]) -> None:
    free = keys[1]
    chunks = [{"id": "new", "text": "the wobbling zorkmid", "path": ["found", "late"]}]
    written = ask(two, free, "/chunks", {"chunks": chunks}).json()
    assert (written["changed"], written["generation"]) == (1, 2)

    def found() -> bool:
        answers = [
            ask(two, free, "/search", {"query": "zorkmid", "topk": 1}).json() for _ in range(8)
        ]
        return all(hit["id"] == "new" for each in answers for hit in each["hits"] or [{"id": ""}])

    until(found)
    both = [
        threading.Thread(target=ask, args=(two, free, "/chunks/delete", {"ids": [name]}))
        for name in ("new", "json.loads")
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    until(lambda: ask(two, free, "/ready").json()["generation"] >= 4)

    def behind() -> float:
        text = ask(two, free, "/metrics").text
        return float(text.split("\ndtrag_index_generation ", 1)[1].split("\n", 1)[0])

    until(lambda: behind() >= 4)


def test_a_dead_worker_is_replaced_and_the_end_is_orderly(
    two: Served, keys: tuple[Path, str, str]
) -> None:
    free = keys[1]

    def is_worker(process: psutil.Process) -> bool:
        try:
            return "spawn_main" in " ".join(process.cmdline())
        except psutil.NoSuchProcess:  # or a zombie
            return False

    def workers() -> set[int]:
        children = psutil.Process(two.process.pid).children()
        return {each.pid for each in children if is_worker(each)}

    before = workers()
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(workers()) == 2 and workers() != before)
    assert ask(two, free, "/search", {"query": "open a file"}).status_code == 200
    children = workers()

    status, errors = two.end()

    assert (status, errors) == (0, "")
    assert not any(psutil.pid_exists(pid) for pid in children)


def test_garbage_is_refused_and_harms_nothing(one: Served) -> None:
    random.seed(4)
    head = b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    pieces = [
        random.randbytes(200),
        b"GET / HTTP/9.9\r\n\r\n",
        head + b"Content-Length: -1\r\n\r\n{}",
        head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        head + b"Content-Length: 99999999999999999999999\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        head + b"Content-Length: 100\r\n\r\n{",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%00%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX-Request-Id: \xff\r\nHost: x\r\nConnection: close\r\n\r\n",
    ]
    for _ in range(10):
        for data in pieces:
            answer = raw(one, data)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 "), answer
            assert not answer.startswith(b"HTTP/1.1 5"), answer
    endless = raw(one, b"GET / HTTP/1.1\r\n" + b"X-Filler: abcdef\r\n" * 8_000)
    assert endless == b"" or endless.startswith(b"HTTP/1.1 431 ")
    refused = raw(one, b"nonsense\r\n\r\n")
    assert b"400 Bad Request" in refused
    assert json.loads(refused.split(b"\r\n\r\n", 1)[1])["status"] == 400
    assert one.post("/search", query="open a file").status_code == 200


def test_a_connection_is_used_again_after_refusals(one: Served) -> None:
    with httpx.Client(base_url=one.url) as client:
        answers = [
            client.post("/search", json=body).status_code
            for body in ({"query": ""}, {"query": "file"}, {"query": 1}, {"query": "file"})
        ]
    assert answers == [422, 200, 422, 200]


def test_a_stream_is_whole_lines_with_an_end(one: Served) -> None:
    body = {"query": "file", "topk": 100_000}
    with httpx.stream("POST", f"{one.url}/search/stream", json=body, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert lines[-1] == {"end": True, "hits": len(lines) - 1, "degraded": False}
    assert len({line["id"] for line in lines[:-1]}) == len(lines) - 1


def test_a_port_in_use_and_keys_that_are_missing_are_told(
    one: Served, small_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dtrag_core.cli import ExitCode, main

    monkeypatch.setenv("DTRAG_HOME", str(tmp_path))
    assert main(["serve", str(small_index), "--port", str(one.address[1])]) == ExitCode.USAGE
    assert main(["serve", str(small_index), "--host", "0.0.0.0"]) == ExitCode.USAGE
    assert main(["serve"]) == ExitCode.USAGE
    assert main(["serve", str(tmp_path), "--port", "0"]) == ExitCode.ERROR


def test_sigterm_lets_what_runs_be_answered(one: Served) -> None:
    """A request whose body is still on its way when the signal comes is answered all the same."""
    body = b'{"query": "open a file"}'
    head = (
        b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    with socket.create_connection(one.address, timeout=30) as connection:
        connection.sendall(head + body[:5])
        until(lambda: httpx.get(one.url + "/health").status_code == 200)
        one.process.send_signal(signal.SIGTERM)

        def closed() -> bool:
            try:
                socket.create_connection(one.address, timeout=1).close()
            except OSError:
                return True
            return False

        until(closed)
        connection.sendall(body[5:])
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert one.process.wait(60) == 0

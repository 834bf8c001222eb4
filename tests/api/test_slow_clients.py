"""Clients that stall, leave answers unread or come in crowds hold no worker; nor a dead parent."""

import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from dtrag_core.api.listening import listen, url_of
from dtrag_core.api.serve import serve as serve_here
from dtrag_core.api.settings import BodyLimits, Capacity, ConnectionLimits, ServiceSettings

LIMITS = ConnectionLimits(most=20, pipelined=4, headers_s=0.3, idle_s=1, unread_s=0.5)
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WAIT = b"X-Timeout-Ms: 60000\r\n"  # so that it is not the request's own time that is up


class Service:
    """A process that serves, with little patience."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.process = psutil.Process(pid)
        self._port = int(url.rsplit(":", 1)[1])

    def connect(self) -> socket.socket:
        connection = socket.socket()
        connection.settimeout(30)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", self._port))
        return connection

    def connections(self) -> int:
        """Return how many the process has open."""
        return sum(each.status == "ESTABLISHED" for each in self.process.net_connections("tcp"))


@pytest.fixture(scope="module")
def service(small_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = ServiceSettings(
        small_index,
        jobs=tmp_path_factory.mktemp("slow") / "jobs.sqlite",
        bodies=BodyLimits(seconds=1.5),
        connections=LIMITS,
        capacity=Capacity(searches=1, streams=1),
    )
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with ours, theirs, listen("127.0.0.1", 0) as listener:
        ready = partial(theirs.send, "ready")
        process = context.Process(target=serve_here, args=(settings, listener, ready))
        process.start()
        assert ours.recv() == "ready"
        assert process.pid
        yield Service(url_of(listener), process.pid)
        process.terminate()
        process.join(60)
        assert process.exitcode == 0


def refused(service: Service) -> float:
    """Return how many searches were refused so far."""
    counted = 'dtrag_request_seconds_count{route="/search",status="503"} '
    lines = httpx.get(service.url + "/metrics").text.splitlines()
    return sum(float(line.removeprefix(counted)) for line in lines if line.startswith(counted))


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def ask(connection: socket.socket, request: bytes) -> bytes:
    """Return the answer, which is JSON."""
    connection.sendall(request)
    answer = b""
    while not answer.endswith(b"}"):
        answer += connection.recv(65_536)
    return answer


def rest(connection: socket.socket) -> bytes:
    """Return all that comes until the other side closes."""
    received = b""
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            received += part
    return received


def drip(connection: socket.socket, piece: bytes) -> bytes:
    """Send a piece again and again; return all that comes until the other side closes."""
    connection.settimeout(0.05)
    received = b""
    limit = time.monotonic() + 60
    with suppress(ConnectionError):
        while time.monotonic() < limit:
            connection.sendall(piece)
            with suppress(TimeoutError):
                if not (part := connection.recv(65_536)):
                    return received
                received += part
    assert time.monotonic() < limit
    return received


def check_timeout(answer: bytes, kind: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n"), answer
    assert b"\r\nconnection: close" in head
    assert json.loads(body)["type"].encode().endswith(kind)


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"POST /sea", HEAD, HEAD + b"X-Lo"])
def test_headers_that_stall_are_given_up(service: Service, begun: bytes) -> None:
    with service.connect() as connection:
        connection.sendall(begun)
        check_timeout(rest(connection), b"request-timeout")


def test_headers_that_drip_are_given_up(service: Service) -> None:
    with service.connect() as connection:
        connection.sendall(HEAD)
        check_timeout(drip(connection, b"X-Filler: a\r\n"), b"request-timeout")


def test_a_second_request_that_stalls_is_given_up_too(service: Service) -> None:
    with service.connect() as connection:
        assert ask(connection, HEALTH).startswith(b"HTTP/1.1 200 OK")
        connection.sendall(b"GET /hea")
        check_timeout(rest(connection), b"request-timeout")


@pytest.mark.parametrize("framing", [b"Content-Length: 50", b"Transfer-Encoding: chunked"])
def test_a_body_that_stalls_is_given_up(service: Service, framing: bytes) -> None:
    with service.connect() as connection:
        connection.sendall(HEAD + WAIT + framing + b"\r\n\r\n" + b"1\r\n{\r\n")
        check_timeout(rest(connection), b"slow-body")


@pytest.mark.parametrize("piece", [b"", b"x"])
def test_the_body_of_an_answered_request_is_not_waited_for_long(
    service: Service, piece: bytes
) -> None:
    with service.connect() as connection:
        connection.sendall(HEAD.replace(b"search", b"none") + b"Content-Length: 99999\r\n\r\nx")
        answer = drip(connection, piece)
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert answer.count(b"HTTP/1.1") == 1


def test_what_frames_a_body_is_bounded(service: Service) -> None:
    with service.connect() as connection:
        head = HEAD.replace(b"search", b"none") + b"Transfer-Encoding: chunked\r\n\r\n"
        assert ask(connection, head + b"1\r\nx\r\n0\r\n").startswith(b"HTTP/1.1 404 Not Found\r\n")
        with suppress(ConnectionError):
            connection.sendall(b"Trailer: abcdef\r\n" * 1_000_000)
        assert rest(connection) == b""


@pytest.mark.parametrize("after", [b"", b"\r\n"])
def test_an_idle_connection_is_closed(service: Service, after: bytes) -> None:
    with service.connect() as connection:
        assert ask(connection, HEALTH).startswith(b"HTTP/1.1 200 OK")
        connection.sendall(after)
        assert rest(connection) == b""


@pytest.mark.parametrize(("path", "topk"), [("/search/stream", 100_000), ("/search", 1_000)])
def test_an_answer_left_unread_holds_nothing(service: Service, path: str, topk: int) -> None:
    body = json.dumps({"query": "file", "topk": topk}).encode()
    head = HEAD.replace(b"/search", path.encode()) + WAIT
    request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with service.connect() as connection:
        until(lambda: service.connections() == 1)
        connection.sendall(request * (LIMITS.pipelined + 1))
        until(lambda: service.connections() == 0)
    answer = httpx.post(service.url + path, json={"query": "file"}, timeout=30)
    assert answer.status_code == 200


def test_beyond_so_many_connections_more_are_refused(service: Service) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(service.connect()) for _ in range(LIMITS.most)]
        for connection in held:
            assert ask(connection, HEALTH).startswith(b"HTTP/1.1 200 OK")
        with service.connect() as connection:
            answer = rest(connection)
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nretry-after: 1\r\n" in answer
    until(lambda: service.connections() == 0)
    assert httpx.get(service.url + "/health").status_code == 200


def test_a_search_there_is_no_room_for_is_refused_and_its_connection_goes_on(
    service: Service,
) -> None:
    body = b'{"query": "file"}'
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    before = refused(service)
    statuses: list[bytes] = []
    while b"503" not in statuses or b"200" not in statuses:
        with ExitStack() as stack:
            held = [stack.enter_context(service.connect()) for _ in range(LIMITS.most)]
            for connection in held:
                connection.sendall(request + HEALTH)
            for connection in held:
                answers = b""
                while answers.count(b'{"status":"ok"') < 1:
                    answers += connection.recv(65_536)
                heads = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
                assert len(heads) == 2
                statuses.append(heads[0])
                assert heads[1] == b"200"
                assert (heads[0] == b"503") == (b"\r\nretry-after: 1\r\n" in answers)
                assert ask(connection, HEALTH).startswith(b"HTTP/1.1 200 OK")
        until(lambda: service.connections() == 0)
    assert set(statuses) == {b"200", b"503"}
    assert refused(service) == before + statuses.count(b"503")


@pytest.mark.parametrize("upgrade", [False, True])
def test_after_a_refusal_a_connection_is_what_it_would_be_after_an_answer(
    service: Service, upgrade: bool
) -> None:
    # Its body looks like a request; that of a request for another protocol is not read.
    search = HEAD + b"Content-Length: %d\r\n" % len(HEALTH)
    if upgrade:
        search += b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    search += b"\r\n" + HEALTH
    delete = HEAD.replace(b"/search", b"/chunks/delete") + b"Content-Length: 50\r\n\r\n{"
    before = refused(service)
    while refused(service) == before:
        with ExitStack() as stack:
            held = [stack.enter_context(service.connect()) for _ in range(LIMITS.most - 2)]
            for number, connection in enumerate(held):
                filling = HEAD + b'Content-Length: 17\r\n\r\n{"query": "file"}'
                connection.sendall(filling if number % 3 else search + (b"" if upgrade else delete))
            for connection in held[::3]:
                answers = rest(connection)
                assert answers.count(b"HTTP/1.1 ") == (1 if upgrade else 2)
                assert upgrade or b"HTTP/1.1 408 " in answers, "it was closed while it waited"
                assert b"\r\nconnection: close\r\n" in answers
        until(lambda: service.connections() == 0)


def test_so_many_requests_wait_on_a_connection_and_no_more(service: Service) -> None:
    with service.connect() as connection:
        connection.sendall(HEALTH * (LIMITS.pipelined + 1))
        assert rest(connection).count(b"HTTP/1.1 200 OK") == LIMITS.pipelined + 1
    with service.connect() as connection:
        with suppress(ConnectionError):
            connection.sendall(HEALTH * 1_000)
        assert rest(connection).count(b"HTTP/1.1 200 OK") == 0


def test_requests_before_a_bad_one_never_get_its_answer(service: Service) -> None:
    with service.connect() as connection:
        connection.sendall(HEALTH + b"nonsense\r\n\r\n")
        assert rest(connection).partition(b"\r\n")[0] in (b"", b"HTTP/1.1 200 OK")


def test_a_request_for_another_protocol_is_answered_and_ends_the_connection(
    service: Service,
) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    with service.connect() as connection:
        connection.sendall(HEALTH.removesuffix(b"\r\n") + upgrade)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n" in answer


def test_workers_end_when_their_parent_is_killed(
    serve: Callable[..., Any], small_index: Path
) -> None:
    served = serve(small_index, "--workers", 2)
    children = psutil.Process(served.process.pid).children(recursive=True)
    assert sum("spawn_main" in " ".join(each.cmdline()) for each in children) == 2
    with ExitStack() as stack:
        for begun in (b"", b"POST /sea", HEAD + b"Content-Length: 50\r\n\r\n{", HEALTH) * 4:
            connection = stack.enter_context(socket.create_connection(served.address))
            connection.sendall(begun)
        os.kill(served.process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(children, 60)
        assert not alive
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(served.address)

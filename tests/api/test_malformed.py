"""10,000 malformed requests: each is refused or its connection closed, and nothing is harmed."""

import errno
import json
import random
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import orjson
import psutil

REQUESTS: Final = 10_000
CLIENTS: Final = 8
POSTS: Final = ("/search", "/search/stream", "/api/v1/batch/search", "/chunks", "/chunks/delete")
MORE: Final = 70_000  # bytes of headers, more than are taken


class Malformed(NamedTuple):
    """Bytes to send; `framed` if it is plain where the request ends, so that one answer comes."""

    kind: str
    data: bytes
    framed: bool


def draw(rng: random.Random) -> Malformed:
    """Return a malformed request."""
    make = rng.choice((*_FRAMED, *_BROKEN))
    return Malformed(make.__name__, make(rng), make in _FRAMED)


def head(rng: random.Random, *headers: bytes, path: str | None = None) -> bytes:
    """Return the beginning of a POST, without the empty line."""
    line = f"POST {path or rng.choice(POSTS)} HTTP/1.1\r\nHost: x\r\n".encode()
    return line + b"".join(b"%s\r\n" % header for header in headers)


def post(rng: random.Random, body: bytes, *headers: bytes, path: str | None = None) -> bytes:
    """Return a whole POST of that body, as JSON, at times in chunks."""
    kind = b"Content-Type: application/json"
    if rng.random() < 0.8:
        length = b"Content-Length: %d" % len(body)
        return head(rng, kind, *headers, length, path=path) + b"\r\n" + body
    framed = b""
    while body:
        part, body = body[: (size := rng.randint(1, 50))], body[size:]
        framed += b"%x\r\n%s\r\n" % (len(part), part)
    chunked = head(rng, kind, *headers, b"Transfer-Encoding: chunked", path=path)
    return chunked + b"\r\n" + framed + b"0\r\n\r\n"


def no_json(rng: random.Random) -> bytes:
    whole = b'{"query": "open a file", "topk": 3, "filters": {"doc_type": ["class"]}}'
    cut = whole[: rng.randrange(len(whole))]
    return post(rng, rng.choice((cut, cut + rng.randbytes(3) + b"}", b"[" * rng.randint(1, 5_000))))


def wrong_types(rng: random.Random) -> bytes:
    values: list[object] = [None, [], {}, -1, 1e99, True, "x" * 10_001, [{"a": [None]}], "\udc80"]
    field = rng.choice(["query", "topk", "bm25_topk", "filters", "mode", "queries", "ids", "no"])
    body = {"query": [], "queries": "x", "chunks": 3, "ids": 0, field: rng.choice(values)}
    return post(rng, json.dumps(body).encode())


def no_utf8(rng: random.Random) -> bytes:
    bad = rng.choice((b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x00", b"\n"))
    return post(rng, b'{"query": "' + b"a" * rng.randrange(9) + bad + b'"}')


def no_route(rng: random.Random) -> bytes:
    name = "".join(rng.choices("abc/%.;?#&=~0", k=rng.randint(1, 60)))
    path = rng.choice((name, "%00%ff%c0%ae", "../../etc/passwd", "search//", "a" * 8_000))
    return b"GET /nowhere/%s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode()


def other_method(rng: random.Random) -> bytes:
    method = rng.choice(("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "GET"))
    return f"{method} {rng.choice(POSTS)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def other_type(rng: random.Random) -> bytes:
    kind = rng.choice((b"text/xml", b"", b"application/json2", b"\xff", b"a" * 2_000))
    body = b'{"query": "file"}'
    one, other = b"Content-Type: %s" % kind, b"Content-Length: %d" % len(body)
    return head(rng, b"Content-Type: application/json", one, other) + b"\r\n" + body


def odd_header(rng: random.Random) -> bytes:
    odd = (b"X-Timeout-Ms: -1", b"X-Timeout-Ms: 1e3", b"X-Timeout-Ms: \xb2", b"X-Timeout-Ms: 0" * 9)
    return post(rng, b'{"query": "file"}', rng.choice((*odd, b"Content-Encoding: gzip")))


def too_large(rng: random.Random) -> bytes:
    told = rng.choice((b"99999999", b"999999999999999", b"16777217"))
    length = b"Content-Length: " + told
    return head(rng, b"Content-Type: application/json", length) + b"\r\n" + b" " * rng.randrange(99)


def no_job(rng: random.Random) -> bytes:
    name = "".join(rng.choices("0123456789abcdefg%-", k=rng.choice((1, 32, 32, 200))))
    where, what = rng.choice((("GET", "status/"), ("DELETE", ""), ("GET", "")))
    more = rng.choice(("", "?limit=-1", "?offset=1e9", "?limit=%00", "?limit=1&limit=x"))
    return f"{where} /api/v1/batch/{what}{name}{more} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def truncated(rng: random.Random) -> bytes:
    whole = post(rng, b'{"query": "open a file"}')
    return whole[: rng.randrange(1, len(whole))]


def odd_length(rng: random.Random) -> bytes:
    odd = (b"-1", b"+2", b"2,2", b"0x2", b"2 2", b"", b"9" * 30, b"\xb2", b"2\x00", b"1e1")
    lengths = [b"Content-Length: " + rng.choice(odd)]
    if rng.random() < 0.5:
        lengths = rng.choice(
            (
                [b"Content-Length: 2", b"Content-Length: 3"],
                [b"Content-Length: 2", b"Transfer-Encoding: chunked"],
                [b"Transfer-Encoding: gzip, chunked, identity"],
                [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
            )
        )
    return head(rng, b"Content-Type: application/json", *lengths) + b"\r\n{}"


def odd_chunks(rng: random.Random) -> bytes:
    chunks = (
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}0\r\n\r\n",
        b"ffffffffffffffffff\r\n{}",
        b"2;" + b"e" * MORE * 2 + b"\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\n" + b"Trailer: abcdef\r\n" * (MORE // 8),
        b"2\r\n{}\r\n0\r\nBad Trailer\x00: x\r\n\r\n",
        b"5\r\n{",
        b"\r\n\r\n",
        b"\x00" * 50,
    )
    start = head(rng, b"Content-Type: application/json", b"Transfer-Encoding: chunked")
    return start + b"\r\n" + rng.choice(chunks)


def huge_headers(rng: random.Random) -> bytes:
    many = b"X-Filler: abcdef\r\n" * (MORE // 9)
    return head(rng) + rng.choice(
        (many, b"X-Long: " + b"a" * MORE * 2, b"A" * MORE * 2 + b": b\r\n")
    )


def garbage(rng: random.Random) -> bytes:
    size = rng.randint(1, 300)
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(size)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    return rng.choice((rng.randbytes(size), hello, preface, b"\x00" * size, b"{}" * size))


def odd_line(rng: random.Random) -> bytes:
    lines = (
        b"GET / HTTP/9.9",
        b"GET /\x00 HTTP/1.1",
        b"GET /\xff\xfe HTTP/1.1",
        b"G\x00T / HTTP/1.1",
        b"BREW /search HTTP/1.1",
        b"get /search HTTP/1.1",
        b"POST  /search HTTP/1.1",
        b"POST /search",
        b"POST search HTTP/1.1",
        b"POST http:// HTTP/1.1",
        b"POST http://[::1/search HTTP/1.1",
        b"CONNECT x:99999999 HTTP/1.1",
        b"CONNECT x:80 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"POST /search HTTX/1.1",
        b"POST /search\tHTTP/1.1",
        b"POST /search HTTP/1.1 HTTP/1.1",
        b" POST /search HTTP/1.1",
    )
    names = (b"Host: x", b"No Colon", b"Sp ace: x", b": x", b"N\x00: x", b"V: \x00", b" Folded: x")
    return rng.choice(lines) + b"\r\n" + rng.choice(names) + b"\r\n\r\n"


def pipelined(rng: random.Random) -> bytes:
    bad = (no_json, wrong_types, no_utf8, no_route, other_method, other_type, odd_header)
    first = b"".join(rng.choice(bad)(rng) for _ in range(rng.randint(1, 40)))
    return first + rng.choice((garbage, odd_line, odd_chunks, truncated))(rng)


def upgrade(rng: random.Random) -> bytes:
    to = rng.choice((b"websocket", b"h2c", b"\xff"))
    start = head(rng, b"Connection: Upgrade", b"Upgrade: " + to, b"Content-Length: 0")
    return start + b"\r\n" + garbage(rng)


_Make = Callable[[random.Random], bytes]
_FRAMED: Final[tuple[_Make, ...]] = (
    no_json, wrong_types, no_utf8, no_route, other_method, other_type, odd_header, too_large,
    no_job,
)  # fmt: skip
_BROKEN: Final[tuple[_Make, ...]] = (
    truncated, odd_length, odd_chunks, huge_headers, garbage, odd_line, pipelined, upgrade,
)  # fmt: skip


ANSWER: Final = re.compile(
    rb"HTTP/1\.1 (4\d\d) [A-Za-z -]+\r\n((?:[a-z-]+: [^\r\n\x00]*\r\n)+)\r\n"
)


class Client:
    """A connection, opened again whenever it was closed; what comes back is checked to the byte."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def send(self, request: Malformed, rng: random.Random) -> list[int]:
        """Return the statuses of the answers; none if the connection was closed without one."""
        connection = self._socket
        if connection is None or not request.framed:
            self.close()
            connection = self._socket = socket.create_connection(self._address, timeout=30)
        received = b""
        with suppress(ConnectionError):
            connection.sendall(request.data)
            if not request.framed and rng.random() < 0.2:
                linger = struct.pack("ii", 1, 0)  # leave at once, by a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            elif request.framed:
                received = self._one(connection)
            else:
                half_close(connection)
                while part := connection.recv(65_536):
                    received += part
        statuses = check(received)
        if not (request.framed and statuses) or b"\r\nconnection: close\r\n" in received:
            self.close()
        return statuses

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _one(self, connection: socket.socket) -> bytes:
        received = b""
        while part := connection.recv(65_536):
            received += part
            head, end, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)", head)
            if end and length and len(body) >= int(length[1]):
                return received
        return received


def half_close(connection: socket.socket) -> None:
    """Say that nothing more is sent; a server that has reset the connection is told by name."""
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise ConnectionResetError from error
        raise


def check(received: bytes) -> list[int]:
    """Return the statuses of answers that are all whole problems, and nothing else."""
    statuses = []
    while received:
        head = ANSWER.match(received)
        assert head, received[:500]
        length = re.search(rb"^content-length: (\d+)\r$", head[2], re.M)
        assert length, received[:500]
        assert b"content-type: application/problem+json\r\n" in head[2]
        end = head.end() + int(length[1])
        assert end <= len(received), received[-500:]
        problem = orjson.loads(received[head.end() : end])
        assert problem["status"] == int(head[1])
        assert problem["type"].startswith("urn:dtrag:problem:")
        assert problem["detail"]
        statuses.append(int(head[1]))
        received = received[end:]
    return statuses


def send_all(address: tuple[str, int], seed: int, number: int) -> Counter[tuple[str, int]]:
    """Send so many on one connection after the other; return how often each kind got what."""
    rng, told = random.Random(seed), Counter[tuple[str, int]]()
    with closing(Client(address)) as client:
        for _ in range(number):
            request = draw(rng)
            try:
                statuses = client.send(request, rng)
            except AssertionError as error:
                raise AssertionError(f"{request.kind}: {request.data[:300]!r}") from error
            told.update((request.kind, status) for status in statuses or (0,))
    return told


def test_ten_thousand_malformed_requests_harm_nothing(
    serve: Callable[..., Any], small_index: Path
) -> None:
    service = serve(small_index, "--no-cache")
    process = psutil.Process(service.process.pid)
    body = {"query": "parse json text", "topk": 10}

    def hits() -> Any:  # noqa: ANN401 (JSON)
        return service.post("/search", **body).json()["hits"]

    before, files = hits(), process.num_fds()

    with ThreadPoolExecutor(CLIENTS) as threads:
        sent = [
            threads.submit(send_all, service.address, seed, REQUESTS // CLIENTS)
            for seed in range(CLIENTS)
        ]
        told = sum((each.result() for each in sent), Counter[tuple[str, int]]())

    unanswered = {kind for kind, status in told if not status}
    assert unanswered.isdisjoint(make.__name__ for make in _FRAMED)
    assert {status for _, status in told} >= {0, 400, 404, 405, 413, 415, 422, 431}
    assert hits() == before
    for path in ("/health", "/ready"):
        assert httpx.get(service.url + path).status_code == 200
    limit = time.monotonic() + 30
    while process.num_fds() > files:
        assert time.monotonic() < limit, process.net_connections()
        time.sleep(0.05)
    assert service.end() == (0, "")

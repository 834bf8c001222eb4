"""The client against real sockets: servers that answer, close, dawdle, or speak something else."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from dtrag_core.bench.clock import precise_loop
from dtrag_core.bench.http_client import Address, HttpClient, Response
from dtrag_core.errors import MeasuringError, UsageError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
Use = Callable[[HttpClient], Awaitable[None]]
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def talk(
    answer: Answer, use: Callable[[HttpClient], Awaitable[None]], timeout_s: float = 30.0
) -> int:
    """Serve connections with `answer`, let `use` send to them; return how many were made."""
    made = 0

    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal made
            made += 1
            try:
                await answer(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with HttpClient(Address.of(f"http://127.0.0.1:{port}"), timeout_s) as client:
            await use(client)
        server.close()
        await server.wait_closed()

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        runner.run(main())
    return made


async def again_and_again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(OK)


async def ignoring_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        await again_and_again(reader, writer)


def test_connections_are_kept_and_there_are_no_more_than_requests_under_way() -> None:
    async def use(client: HttpClient) -> None:
        request = client.address.request("GET", "/")
        for _ in range(20):
            assert await client.send(request) == Response(200, b"hi")
        answers = await asyncio.gather(*(client.send(request) for _ in range(5)))
        assert answers == [Response(200, b"hi")] * 5

    assert talk(ignoring_the_end, use) == 5


def test_a_body_in_chunks_is_put_together() -> None:
    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert b"POST /base/search HTTP/1.1\r\nHost: " in request
        assert await reader.readexactly(2) == b"{}"
        writer.write(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await writer.drain()
        writer.write(b"4\r\n you\r\n0\r\n\r\n")
        await writer.drain()

    async def use(client: HttpClient) -> None:
        at = Address(client.address.scheme, client.address.host, client.address.port, "/base")
        request = at.request("POST", "/search", b"{}", {"X-Timeout-Ms": "5"})
        assert await client.send(request) == Response(503, b"hi you")

    assert talk(slowly, use) == 1


def test_a_connection_the_server_closes_is_an_error_once_and_then_replaced() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi")

    async def use(client: HttpClient) -> None:
        request = client.address.request("GET", "/")
        for _ in range(2):
            with pytest.raises(ConnectionResetError, match="before it answered"):
                await client.send(request)

    assert talk(once, use) == 2


def test_what_is_not_http_is_a_connection_error() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await writer.drain()
        await reader.read()

    async def use(client: HttpClient) -> None:
        with pytest.raises(ConnectionError, match="no HTTP response"):
            await client.send(client.address.request("GET", "/"))

    talk(rude, use)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_client_that_gives_up_closes_its_connection(cancelled: bool) -> None:
    left = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            await reader.read()
        left.set()

    async def use(client: HttpClient) -> None:
        sending = asyncio.ensure_future(client.send(client.address.request("GET", "/")))
        if cancelled:
            await asyncio.wait([sending], timeout=0.05)
            sending.cancel()
        with pytest.raises(asyncio.CancelledError if cancelled else TimeoutError):
            await sending
        await left.wait()

    talk(never, use, timeout_s=30.0 if cancelled else 0.05)


def test_nobody_listening_is_told_before_a_load() -> None:
    async def main() -> None:
        async with HttpClient(Address.of("http://127.0.0.1:9")) as client:
            await client.warm(1)

    with pytest.raises(MeasuringError, match=r"nothing answers at 127\.0\.0\.1:9"):
        asyncio.run(main())


@pytest.mark.parametrize(
    "url", ["127.0.0.1:80", "ftp://x", "http://", "http://x:port", "http://x?a"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        Address.of(url)


def test_line_breaks_do_not_get_into_a_request() -> None:
    with pytest.raises(UsageError, match="line break"):
        Address.of("http://x").request("GET", "/", headers={"Authorization": "a\r\nHost: b"})

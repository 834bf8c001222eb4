"""What a client receives, and in how many packets, when an answer is written in parts."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from dtrag_core.api.one_write import OneWrite

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Recorder(asyncio.Transport):
    """A transport whose packets are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def writelines(self, parts: Iterable[bytes | bytearray | memoryview]) -> None:
        self.sent.append(b"".join(parts))

    def close(self) -> None:
        self.sent.append(b"(closed)")


def received(script: Callable[[OneWrite], Awaitable[None]]) -> list[bytes]:
    """Return what was sent, a packet each."""
    recorder = Recorder()

    async def main() -> None:
        await script(OneWrite(recorder, asyncio.get_running_loop()))

    asyncio.run(main())
    return recorder.sent


def test_a_head_goes_with_the_body_that_follows() -> None:
    async def answer(out: OneWrite) -> None:
        for _ in range(2):
            out.write(HEAD)
            out.write(b"body")

    assert received(answer) == [HEAD + b"body"] * 2


def test_later_parts_go_at_once() -> None:
    async def stream(out: OneWrite) -> None:
        for part in (HEAD, b"one", b"two", b"HTTP/1.1 as a text"):
            out.write(part)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert received(stream) == [HEAD + b"one", b"two", b"HTTP/1.1 as a text"]


def test_a_head_that_stays_alone_waits_for_a_turn_and_no_longer() -> None:
    async def wait(out: OneWrite) -> None:
        out.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0)
        out.write(HEAD)
        out.write(b"body")

    assert received(wait) == [b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + b"body"]


def test_closing_sends_what_is_held() -> None:
    async def close(out: OneWrite) -> None:
        out.write(HEAD)
        out.close()

    assert received(close) == [HEAD, b"(closed)"]

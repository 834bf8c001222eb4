"""Asynchronous iterators whose steps compute: run on a thread, read on the event loop."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def iterate_apart(
    iterate: Callable[[], AsyncIterator[T]], threads: ThreadPoolExecutor
) -> AsyncGenerator[T, None]:
    """Yield what the iterator yields, computed on a thread, one item ahead of the reader.

    Raises what the iterator raises. When the reader stops, so does the thread after its step.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[T | Exception | None] = asyncio.Queue()
    room, left = threading.Semaphore(2), threading.Event()

    def tell(item: T | Exception | None) -> None:
        with suppress(RuntimeError):  # the reader's loop is closed
            loop.call_soon_threadsafe(items.put_nowait, item)

    async def produce() -> None:
        async for item in iterate():
            tell(item)
            room.acquire()
            if left.is_set():
                return

    def work() -> None:
        try:
            asyncio.run(produce())
        except Exception as error:
            tell(error)
        else:
            tell(None)

    threads.submit(work)
    try:
        while (item := await items.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
            room.release()
    finally:
        left.set()
        room.release()

"""What is refused, and when: before it costs anything."""

import asyncio
import gc
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from dtrag_core.api.keys import add_key, load_keys, revoke_key
from dtrag_core.api.schemas import SearchBody
from dtrag_core.api.settings import BodyLimits, Capacity, ServiceSettings
from dtrag_core.engines.base import Engine
from dtrag_core.search.batch import BatchRequest, BatchSearch
from dtrag_core.search.dao import SearchDAO
from dtrag_core.search.reading import A, C, Reading
from dtrag_core.types import OPTIMIZED
from dtrag_core.workbench import open_dao

Json = Any
RunApp = Callable[..., Any]
JSON = [(b"content-type", b"application/json")]


class Exchange:
    """One request by hand: the test decides when its body comes and when the client leaves."""

    def __init__(self, path: str = "/search", headers: list[tuple[bytes, bytes]] = JSON) -> None:
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": headers,
        }
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []

    def body(self, content: bytes, *, more: bool = False) -> None:
        self.messages.put_nowait({"type": "http.request", "body": content, "more_body": more})

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None


class Gate:
    """Searches wait until it is opened, or raise `fault` if there is one."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.searched = 0
        self.fault: Exception | None = None


class GatedSearch(BatchSearch[C, A]):
    """Searches only once it may."""

    def __init__(self, gate: Gate, engine: Engine, reading: Reading[C, A]) -> None:
        super().__init__(engine, OPTIMIZED, 1 << 20, reading)
        self._gate = gate

    def __call__(self, requests: Sequence[BatchRequest]) -> list[A | Exception]:
        if self._gate.fault is not None:
            raise self._gate.fault
        self._gate.opened.wait()
        self._gate.searched += len(requests)
        return super().__call__(requests)


class Gated(SearchDAO):
    """Searches through a gate."""

    def __init__(self, inner: SearchDAO) -> None:
        self.gate = Gate()
        super().__init__(inner.engine, inner.executor)

    def batches(self, reading: Reading[C, A]) -> BatchSearch[C, A]:
        return GatedSearch(self.gate, self.engine, reading)


@pytest.fixture
def gated(small_index: Path) -> Gated:
    return Gated(open_dao(small_index))


def settings(small_index: Path, tmp_path: Path, **more: Json) -> ServiceSettings:
    return ServiceSettings(small_index, jobs=tmp_path / "jobs.sqlite", **more)


def test_overload_is_refused_without_parsing(
    run_app: RunApp,
    gated: Gated,
    small_index: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed: list[bytes] = []
    both = asyncio.Event()
    parse = SearchBody.model_validate_json

    def counting(body: bytes) -> SearchBody:
        parsed.append(body)
        if len(parsed) == 2:
            both.set()
        return parse(body)

    monkeypatch.setattr(SearchBody, "model_validate_json", counting)
    crowded = settings(small_index, tmp_path, capacity=Capacity(searches=2))
    with run_app(crowded, gated) as service:

        async def scenario() -> tuple[list[httpx.Response], list[httpx.Response]]:
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(service.app), base_url="http://service"
            )
            async with client:
                first = [
                    asyncio.create_task(client.post("/search", json={"query": f"query {number}"}))
                    for number in range(2)
                ]
                await asyncio.wait_for(both.wait(), 30)
                refused = [await client.post("/search", content=b"{") for _ in range(5)]
                healthy = [await client.get(path) for path in ("/health", "/ready", "/metrics")]
                gated.gate.opened.set()
                return [*refused, *healthy], await asyncio.gather(*first)

        answers, first = service.run(scenario())
    assert [answer.status_code for answer in answers] == [503] * 5 + [200] * 3
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers[:5])
    assert answers[0].json()["type"].endswith("rate-limited")
    assert [answer.status_code for answer in first] == [200, 200]
    assert len(parsed) == 2


def test_a_server_learns_before_a_request_begins_that_there_is_no_room(
    run_app: RunApp, gated: Gated, small_index: Path, tmp_path: Path
) -> None:
    crowded = settings(small_index, tmp_path, capacity=Capacity(searches=2))
    with run_app(crowded, gated) as service:

        async def scenario() -> list[int | None]:
            exchanges = [Exchange() for _ in range(5)]
            told = [service.app.shed(each.scope) for each in exchanges]
            tasks = []
            for each, refusal in zip(exchanges, told, strict=True):
                if refusal is None:
                    each.body(b'{"query": "path"}')
                    task = service.app(each.scope, each.messages.get, each.send)
                    tasks.append(asyncio.create_task(task))
                else:
                    for message in refusal:
                        await each.send(message)
            await asyncio.sleep(0)
            again = Exchange()
            assert service.app.shed(again.scope) is not None
            assert service.app.shed(Exchange("/health").scope) is None
            gated.gate.opened.set()
            await asyncio.gather(*tasks)
            assert service.app.shed(again.scope) is None
            assert [(b"retry-after", b"1") in each.sent[0]["headers"] for each in exchanges] == [
                each.status == 503 for each in exchanges
            ]
            ids = {dict(each.sent[0]["headers"])[b"x-request-id"] for each in exchanges}
            assert len(ids) == 5
            return [each.status for each in exchanges]

        assert service.run(scenario()) == [200, 200, 503, 503, 503]
        statistics = service.app.service.controller.statistics().resources["search"].limiter
        assert (statistics.admitted, statistics.refused, statistics.in_flight) == (2, 4, 0)


def test_a_slow_body_is_given_up_and_holds_nothing(
    run_app: RunApp, small_index: Path, tmp_path: Path
) -> None:
    slow = settings(small_index, tmp_path, bodies=BodyLimits(seconds=0.05, waiting=2))
    with run_app(slow) as service:

        async def scenario() -> list[int | None]:
            exchanges = [Exchange() for _ in range(4)]
            exchanges[1].body(b'{"query": ', more=True)
            tasks = [
                asyncio.create_task(service.app(each.scope, each.messages.get, each.send))
                for each in exchanges
            ]
            await asyncio.sleep(0)
            in_use = service.app.service.controller.statistics().resources["search"].pool.in_use
            await asyncio.gather(*tasks)
            return [in_use, *(each.status for each in exchanges)]

        assert service.run(scenario()) == [0, 408, 408, 503, 503]


def test_a_body_in_pieces_is_put_together_and_one_too_large_refused(
    run_app: RunApp, small_index: Path, tmp_path: Path
) -> None:
    with run_app(settings(small_index, tmp_path, bodies=BodyLimits(most=100))) as service:

        async def scenario() -> list[int | None]:
            good, large, told = Exchange(), Exchange(), Exchange()
            told.scope["headers"] = [*JSON, (b"content-length", b"101")]
            for piece in (b'{"que', b'ry": "open', b' a file"}'):
                good.body(piece, more=True)
            good.body(b"")
            for _ in range(3):
                large.body(b" " * 50, more=True)
            for each in (good, large, told):
                await service.app(each.scope, each.messages.get, each.send)
            return [good.status, large.status, told.status]

        assert service.run(scenario()) == [200, 413, 413]


def test_what_a_request_held_is_free_once_it_is_answered(
    run_app: RunApp, small_index: Path, tmp_path: Path
) -> None:
    with run_app(settings(small_index, tmp_path, bodies=BodyLimits(most=100))) as service:

        async def scenario() -> int:
            gc.collect()
            gc.disable()
            try:
                for body in (b'{"query": "open a file"}', b" " * 101):
                    asked = Exchange()
                    asked.body(body)
                    await service.app(asked.scope, asked.messages.get, asked.send)
                del asked
                return sum(isinstance(each, Exchange) for each in gc.get_objects())
            finally:
                gc.enable()

        assert service.run(scenario()) == 0


def test_a_client_that_left_stops_costing(
    run_app: RunApp, gated: Gated, small_index: Path, tmp_path: Path
) -> None:
    with run_app(settings(small_index, tmp_path), gated) as service:

        async def scenario() -> Exchange:
            running, waiting = Exchange(), Exchange()
            tasks = []
            for name, each in (("first", running), ("second", waiting)):
                each.body(json.dumps({"query": name}).encode())
                tasks.append(
                    asyncio.create_task(service.app(each.scope, each.messages.get, each.send))
                )
                await asyncio.sleep(0.01)  # the first is being computed, the second waits for it
            waiting.leave()
            await tasks[1]
            gated.gate.opened.set()
            await tasks[0]
            assert running.status == 200
            return waiting

        left = service.run(scenario())
        parts = service.app.service
        assert left.sent == []
        assert len(service.app.watch) == 0
        assert parts.processor.statistics().dropped == 1
        assert parts.controller.statistics().resources["search"].pool.in_use == 0
    assert gated.gate.searched == 1


def test_a_deadline_ends_a_search_that_hangs(
    run_app: RunApp, gated: Gated, small_index: Path, tmp_path: Path
) -> None:
    hanging = settings(small_index, tmp_path, hang_s=0.1)
    with run_app(hanging, gated) as service:
        late = service.ask(
            "POST", "/search", json={"query": "file"}, headers={"X-Timeout-Ms": "20"}
        )
        hung = service.post("/search", query="another")
        gated.gate.opened.set()
        after = service.post("/search", query="a third")

    assert (late.status_code, hung.status_code, after.status_code) == (504, 504, 200)
    assert "X-Timeout-Ms" in late.json()["detail"]


def test_an_error_nobody_foresaw_shows_nothing(
    run_app: RunApp,
    gated: Gated,
    small_index: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gated.gate.fault = RuntimeError("a secret")
    with run_app(settings(small_index, tmp_path), gated) as service:
        answers = [service.post("/search", query=f"query {number}") for number in range(12)]

    assert answers[0].status_code == 500
    assert "secret" not in answers[0].text
    assert answers[0].json()["request_id"] in caplog.text
    assert "a secret" in caplog.text
    assert answers[-1].status_code == 503  # the breaker is open
    assert answers[-1].json()["type"].endswith("circuit-open")


def test_answers_too_large_are_refused_and_large_ones_not_kept(
    run_app: RunApp, small_index: Path, tmp_path: Path
) -> None:
    body = {"query": "file", "topk": 500}
    with run_app(settings(small_index, tmp_path, answer_bytes=20_000)) as service:
        refused = service.post("/search", **body)
        assert refused.status_code == 422
        assert refused.json()["type"].endswith("result-too-large")
        assert "at most 20,000" in refused.json()["detail"]
        assert "/search/stream" in refused.json()["detail"]
        assert service.post("/search/stream", **body).text.count("\n") == 501
    with run_app(settings(small_index, tmp_path)) as service:
        kept = [service.post("/search", **body).json()["from_cache"] for _ in range(2)]
        assert kept == [False, False]
        small = [service.post("/search", query="file").json()["from_cache"] for _ in range(2)]
        assert small == [False, True]


def test_keys(run_app: RunApp, small_index: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    free, slow, reader = (
        add_key(file, "free"),
        add_key(file, "slow", rate=0.001, burst=2),
        add_key(file, "reader", read_only=True),
    )
    assert not any(key.split("_", 2)[2] in file.read_text() for key in (free, slow, reader))
    assert file.stat().st_mode & 0o777 == 0o600
    with run_app(settings(small_index, tmp_path, keys=file)) as service:

        def ask(key: str | None, path: str = "/search", **body: Json) -> int:
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            answer = service.ask("POST", path, json=body or {"query": "file"}, headers=headers)
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) > 1
            return int(answer.status_code)

        assert [ask(key) for key in (free, slow, reader)] == [200] * 3
        wrong = (None, "", "x", free[:-1], free + "x", free.replace("_", "-"), "dtrag__", "é")
        assert {ask(key) for key in wrong if key != "é"} == {401}
        assert [ask(slow) for _ in range(2)] == [200, 429]
        assert ask(reader, "/chunks/delete", ids=["1"]) == 403
        other = service.ask("POST", "/search", json={"query": "x"}, headers={"X-API-Key": free})
        assert other.status_code == 200
        open_to_all = [service.ask("GET", path).status_code for path in ("/health", "/ready")]
        closed = [service.ask("GET", path).status_code for path in ("/metrics", "/openapi.json")]
        assert (open_to_all, closed) == ([200, 200], [401, 401])
        jobs = [
            service.ask("POST", "/api/v1/batch/search", json={"queries": ["x"]}, headers=headers)
            for headers in ({"X-API-Key": free}, {"X-API-Key": reader})
        ]
        url = jobs[0].json()["status_url"]
        seen = [
            service.ask("GET", url, headers={"X-API-Key": key}).status_code
            for key in (free, reader)
        ]
        assert seen == [200, 404]  # a job is its owner's
    revoke_key(file, "slow")
    assert [key.name for key in load_keys(file).values()] == ["free", "reader"]
    add_key(file, "new")
    assert [key.slot for key in load_keys(file).values()] == [0, 2, 3]

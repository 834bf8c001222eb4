"""The runner: answers, refusals, failures and stopping; and processes killed while they run."""

import asyncio
import json
import logging
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from dtrag_core.api.jobs.processes import worker_name
from dtrag_core.api.jobs.records import JobSettings, JobStatus, Outcome, Problem
from dtrag_core.api.jobs.runner import JobRunner, RunnerSettings, Search
from dtrag_core.api.jobs.store import JobStore
from dtrag_core.errors import InvalidRequestError, OverloadedError, QueueFullError

QUICK = RunnerSettings(poll_s=0.01, rest_s=0.01, stop_s=0.01)
WAKEN = RunnerSettings(poll_s=1e6)


async def double(queries: Sequence[str]) -> Sequence[Outcome]:
    return [query * 2 for query in queries]


def run(
    path: Path,
    search: Search,
    scenario: Callable[[JobStore, JobRunner], Coroutine[Any, Any, None]],
    settings: RunnerSettings = QUICK,
    **limits: float,
) -> None:
    async def whole() -> None:
        store = JobStore(path / "jobs.sqlite", JobSettings(**limits))  # type: ignore[arg-type]
        runner = JobRunner(store, search, settings)
        try:
            await asyncio.wait_for(scenario(store, runner), 60)
        finally:
            await runner.stop()
            assert store.statistics().running_queries == 0
            store.close()

    asyncio.run(whole())


async def end(store: JobStore, job: str) -> JobStatus:
    while (status := store.status(job, "me", 0, 1000)).ended_at is None:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return status


def test_jobs_are_run_when_the_runner_starts_and_when_it_is_told_of_them(tmp_path: Path) -> None:
    async def scenario(store: JobStore, runner: JobRunner) -> None:
        before = store.submit([str(n) for n in range(100)], 0, "me")
        runner.start()
        status = await end(store, before)
        assert status.results == tuple((n, str(n) * 2) for n in range(100))
        told = store.submit(["x"], 0, "me")
        runner.wake()
        assert (await end(store, told)).results == ((0, "xx"),)

    run(tmp_path, double, scenario, WAKEN)


def test_jobs_that_other_processes_accepted_are_found(tmp_path: Path) -> None:
    async def scenario(store: JobStore, runner: JobRunner) -> None:
        runner.start()
        await asyncio.sleep(0)
        assert (await end(store, store.submit(["x"], 0, "me"))).status == "completed"

    run(tmp_path, double, scenario)


def test_refused_queries_wait_and_are_answered_later(tmp_path: Path) -> None:
    calls = Counter[str]()

    async def search(queries: Sequence[str]) -> Sequence[Outcome]:
        calls.update(queries)
        if calls["b"] < 30:  # far more often than a query may fail
            raise QueueFullError("no place", 0.0)
        if calls["b"] < 40:
            return [query if query == "a" else OverloadedError("no", 1e-4) for query in queries]
        return [Problem("broken") for _ in queries]

    async def scenario(store: JobStore, runner: JobRunner) -> None:
        runner.start()
        status = await end(store, store.submit(["a", "b"], 0, "me"))
        assert (status.results, status.errors) == (((0, "a"),), ((1, "broken"),))

    run(tmp_path, search, scenario)
    assert calls["a"] < calls["b"] == 40


@pytest.mark.parametrize("how", ["raises", "hangs", "is cancelled", "miscounts"])
def test_a_search_that_breaks_fails_those_it_breaks_on(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def search(queries: Sequence[str]) -> Sequence[Outcome]:
        if "bad" not in queries:
            return await double(queries)
        if how == "raises":
            raise ValueError("broken")
        if how == "hangs":
            await asyncio.Event().wait()
        if how == "is cancelled":
            raise asyncio.CancelledError
        return []

    async def scenario(store: JobStore, runner: JobRunner) -> None:
        job = store.submit(["good", "bad", "fine"], 0, "me")
        runner.start()
        status = await end(store, job)
        assert status.results == ((0, "goodgood"), (2, "finefine"))
        ((place, problem),) = status.errors
        assert place == 1
        assert json.loads(problem)["detail"].startswith("given up after 3 tries: ")

    with caplog.at_level(logging.CRITICAL):
        run(tmp_path, search, scenario, lone_strikes=1, most_strikes=3, lease_s=0.05)


def test_stopping_lets_a_search_end_but_does_not_wait_for_ever(tmp_path: Path) -> None:
    async def scenario(hangs: bool, store: JobStore, runner: JobRunner) -> None:
        job = store.submit(["a", "b"], 0, "me")
        runner.start()
        await begun.wait()
        stopping = asyncio.ensure_future(runner.stop())
        await asyncio.sleep(0)
        if not hangs:
            go_on.set()
        await stopping
        status = store.status(job, "me")
        if not hangs:
            assert status.status == "completed"
            return
        assert (status.status, status.completed) == ("running", 0)
        assert len(store.claim(worker_name(), 9)) == 2  # nothing is lost, nor held
        store.cancel(job, "me")

    for hangs in (False, True):
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def search(
            queries: Sequence[str],
            begun: asyncio.Event = begun,
            go_on: asyncio.Event = go_on,
        ) -> Sequence[Outcome]:
            begun.set()
            await go_on.wait()
            return queries

        folder = tmp_path / str(hangs)
        folder.mkdir()
        patience = RunnerSettings(stop_s=0.05 if hangs else 60)
        run(folder, search, lambda *both, hangs=hangs: scenario(hangs, *both), patience)


def test_a_store_that_fails_does_not_end_the_runner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(store: JobStore, runner: JobRunner) -> None:
        job = store.submit(["a"], 0, "me")
        other = sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None)
        other.execute("ALTER TABLE leases RENAME TO mislaid")
        runner.start()
        while not caplog.records:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        other.execute("ALTER TABLE mislaid RENAME TO leases")
        other.close()
        assert (await end(store, job)).status == "completed"

    run(tmp_path, double, scenario)
    assert "running batch jobs failed" in caplog.text


# Whatever ends, whichever process ends it, leaves a line: a second end would be seen.
LOG_OF_ENDS = """
CREATE TABLE ends(what TEXT, number INTEGER);
CREATE TRIGGER query_ends AFTER UPDATE OF outcome ON queries
    BEGIN INSERT INTO ends VALUES ('query', NEW.number); END;
CREATE TRIGGER job_ends AFTER UPDATE OF ended_at ON jobs
    BEGIN INSERT INTO ends VALUES ('job', NEW.number); END;
"""


def test_processes_killed_ten_times_end_every_accepted_job_exactly_once(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    store = JobStore(path)
    accepted = [
        store.submit([str(job * 100 + place) for place in range(10)], job % 3, "me")
        for job in range(200)
    ]
    with sqlite3.connect(path) as log:
        log.executescript(LOG_OF_ENDS)
    killed_at: list[int] = []
    # Started beforehand: what takes long must not be beginning to run.
    waiting = [begun(path) for _ in range(11)]
    running = [told_to_run(waiting.pop())]
    for kill in range(10):
        running.append(told_to_run(waiting.pop()))
        aim = (kill + 1) * 150
        while (done := ended_queries(log)) < aim:
            assert all(process.poll() is None for process in running)
            time.sleep(0.002)
        killed_at.append(done)
        victim = running.pop(0)
        victim.kill()
        victim.communicate()
    while store.statistics().unfinished_jobs:
        assert running[0].poll() is None
        time.sleep(0.002)
    running[0].kill()
    running[0].communicate()

    assert killed_at[-1] < 2000, "the last one was killed when all was done"
    for job, job_id in enumerate(accepted):
        status = store.status(job_id, "me")
        numbers = [job * 100 + place for place in range(10)]
        assert (status.status, status.completed, status.failed) == ("completed", 10, 1)
        assert [text for _, text in status.results] == [str(2 * n) for n in numbers if n % 10]
        assert [text for _, text in status.errors] == [str(-n) for n in numbers if n % 10 == 0]
    assert log.execute("SELECT TOTAL(strikes) FROM queries").fetchone()[0] > 0
    ends = Counter(log.execute("SELECT what, number FROM ends").fetchall())
    assert set(ends.values()) == {1}
    assert Counter(what for what, _ in ends) == {"query": 2000, "job": 200}
    log.close()
    store.close()


def begun(path: Path) -> "subprocess.Popen[str]":
    program = Path(__file__).with_name("running.py")
    return subprocess.Popen(
        [sys.executable, str(program), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told_to_run(child: "subprocess.Popen[str]") -> "subprocess.Popen[str]":
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("run\n")
    child.stdin.flush()
    assert child.stdout.readline() == "running\n"
    return child


def ended_queries(log: sqlite3.Connection) -> int:
    count: int = log.execute("SELECT COUNT(*) FROM ends WHERE what = 'query'").fetchone()[0]
    return count


def test_settings_out_of_their_domain_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="poll_s must be above 0, got 0"):
        RunnerSettings(poll_s=0)

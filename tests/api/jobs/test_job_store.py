"""The job store: limits, order, leases, ends, expiry; each exactly once."""

import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dtrag_core.api.jobs.processes import is_dead, worker_name
from dtrag_core.api.jobs.records import Claimed, JobSettings, Problem, StoreStatistics
from dtrag_core.api.jobs.store import JobStore
from dtrag_core.errors import (
    DataError,
    InvalidRequestError,
    OverloadedError,
    QueueFullError,
    UnknownJobError,
)

NAME_YOURSELF = """
from dtrag_core.api.jobs.processes import worker_name
print(worker_name(), flush=True)
input()
"""
NEVER_LOST = JobSettings(lease_s=1e9, most_strikes=10**6, lone_strikes=10**6)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_store(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., JobStore]]:
    stores: list[JobStore] = []

    def open_one(**settings: float) -> JobStore:
        chosen = JobSettings(**settings)  # type: ignore[arg-type]
        stores.append(JobStore(tmp_path / "jobs.sqlite", chosen, clock=clock))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def answer(store: JobStore, claimed: list[Claimed]) -> int:
    return store.finish(claimed, [f"answer to {one.query}" for one in claimed])


def places(claimed: list[Claimed]) -> list[tuple[str, int]]:
    return [(one.job_id, one.index) for one in claimed]


def test_a_job_from_its_submission_to_its_tombstone(
    open_store: Callable[..., JobStore], clock: Clock
) -> None:
    store, worker = open_store(ttl_s=100, tombstone_s=50), worker_name()
    job = store.submit([f"q{n}" for n in range(5)], 0, "me")
    assert store.status(job, "me").status == "queued"
    first = store.claim(worker, 3)
    assert [one.query for one in first] == ["q0", "q1", "q2"]
    assert store.status(job, "me").status == "running"
    assert store.statistics() == StoreStatistics(1, 2, 3, 5)

    assert store.finish(first, ["a0", Problem("p1"), OverloadedError("full", 1)]) == 2

    status = store.status(job, "me")
    assert (status.status, status.completed, status.failed, status.total) == ("running", 2, 1, 5)
    assert (status.results, status.errors) == (((0, "a0"),), ((1, "p1"),))
    assert status.expires_at is None
    clock.now += 7
    rest = store.claim(worker, 10)
    assert [one.index for one in rest] == [2, 3, 4]
    assert answer(store, rest) == 3
    status = store.status(job, "me", offset=1, limit=3)
    assert (status.status, status.completed) == ("completed", 5)
    assert status.results == ((2, "answer to q2"), (3, "answer to q3"))
    assert status.errors == ((1, "p1"),)
    assert (status.ended_at, status.expires_at) == (1007.0, 1107.0)

    clock.now = 1107.0
    for _ in range(2):  # whether swept already or not
        status = store.status(job, "me")
        assert (status.status, status.results, status.errors) == ("expired", (), ())
        assert not store.sweep()
    assert store.statistics() == StoreStatistics(0, 0, 0, 0)
    clock.now = 1157.0
    store.sweep()
    with pytest.raises(UnknownJobError, match=job):
        store.status(job, "me")


def test_nobody_else_learns_of_a_job_or_ends_it(open_store: Callable[..., JobStore]) -> None:
    store = open_store()
    job = store.submit(["q"], 0, "me")
    for name, owner in ((job, "you"), ("nonsense", "me")):
        with pytest.raises(UnknownJobError):
            store.status(name, owner)
        with pytest.raises(UnknownJobError):
            store.cancel(name, owner)
    assert store.status(job, "me").status == "queued"


def test_a_job_whose_queries_all_failed_has_failed(open_store: Callable[..., JobStore]) -> None:
    store = open_store()
    job = store.submit(["a", "b"], 0, "me")
    store.finish(store.claim(worker_name(), 2), [Problem("1"), Problem("2")])
    assert store.status(job, "me").status == "failed"


def test_what_runs_when_its_job_is_cancelled_or_expires_is_discarded(
    open_store: Callable[..., JobStore], clock: Clock
) -> None:
    store, worker = open_store(ttl_s=100), worker_name()
    job = store.submit(["a", "b", "c", "d"], 0, "me")
    answer(store, store.claim(worker, 1))
    one, other = store.claim(worker, 1), store.claim(worker, 1)

    assert store.cancel(job, "me").status == "cancelled"

    assert store.claim(worker, 9) == []
    assert answer(store, one) == 0
    status = store.status(job, "me")
    assert (status.status, status.completed, status.expires_at) == ("cancelled", 1, 1100.0)
    assert status.results == ((0, "answer to a"),)
    assert store.statistics().kept_queries == 1
    clock.now = 1101.0
    store.sweep()
    assert answer(store, other) == 0
    assert store.cancel(job, "me").status == "expired"
    assert store.statistics() == StoreStatistics(0, 0, 0, 0)


def test_a_job_that_ended_stays_as_it_ended(open_store: Callable[..., JobStore]) -> None:
    store = open_store()
    job = store.submit(["a"], 0, "me")
    claimed = store.claim(worker_name(), 1)
    answer(store, claimed)
    ended = store.status(job, "me")
    assert answer(store, claimed) == 0
    store.release(claimed, "late")
    assert store.cancel(job, "me").status == "completed"
    assert store.status(job, "me") == ended


def test_priorities_go_first_age_makes_up_for_them_and_long_jobs_leave_room(
    open_store: Callable[..., JobStore], clock: Clock
) -> None:
    store, worker = open_store(aging_s=5, spacing_s=1), worker_name()
    low = store.submit(["q"] * 2, -1, "me")
    long = store.submit(["q"] * 4, 0, "me")
    clock.now += 2.5
    short = store.submit(["q"], 0, "me")
    high = store.submit(["q"], 1, "me")
    clock.now += 100
    late = store.submit(["q"], 10, "me")
    order = [places(store.claim(worker, 1))[0] for _ in range(9)]
    assert order == [
        *[(high, 0), (long, 0), (long, 1), (long, 2), (short, 0)],
        *[(long, 3), (low, 0), (low, 1), (late, 0)],
    ]
    with pytest.raises(InvalidRequestError, match="priority"):
        store.submit(["q"], 11, "me")


def test_a_lease_that_ran_out_is_worth_nothing(
    open_store: Callable[..., JobStore], clock: Clock
) -> None:
    store, worker = open_store(lease_s=10), worker_name()
    job = store.submit(["a", "b"], 0, "me")
    slow = store.claim(worker, 2)
    assert store.claim(worker, 2) == []
    clock.now += 10
    again = store.claim(worker, 2)
    assert places(again) == places(slow)
    assert answer(store, slow) == 0
    assert answer(store, again) == 2
    assert store.status(job, "me").completed == 2


def test_what_a_worker_gives_back_can_be_claimed_at_once(
    open_store: Callable[..., JobStore],
) -> None:
    store, worker, other = open_store(), worker_name(), worker_name()
    store.submit(["a", "b", "c"], 0, "me")
    kept = store.claim(other, 1)
    store.claim(worker, 1)
    store.claim(worker, 1)
    store.release_worker(worker)
    assert [one.query for one in store.claim(other, 9)] == ["b", "c"]
    assert answer(store, kept) == 1


def test_what_breaks_its_workers_is_tried_alone_and_given_up_and_others_are_not(
    open_store: Callable[..., JobStore],
) -> None:
    store, worker = open_store(lone_strikes=2, most_strikes=4), worker_name()
    job = store.submit(["good", "poison", "fine"], 0, "me")
    tries: list[list[str]] = []
    while claimed := store.claim(worker, 9):
        tries.append([one.query for one in claimed])
        if any(one.query == "poison" for one in claimed):
            store.release(claimed, "it broke")
        else:
            answer(store, claimed)
    whole = ["good", "poison", "fine"]
    assert tries == [whole, whole, ["good"], ["poison"], ["poison"], ["fine"]]
    status = store.status(job, "me")
    assert status.status == "completed"
    assert [place for place, _ in status.results] == [0, 2]
    ((place, problem),) = status.errors
    assert place == 1
    assert json.loads(problem)["detail"] == "given up after 4 tries: it broke"


def test_limits_of_an_owner_and_of_all(open_store: Callable[..., JobStore], clock: Clock) -> None:
    store = open_store(jobs=3, owner_jobs=2, queries=12, owner_queries=9, job_queries=5, ttl_s=100)
    for wrong in ([], ["q"] * 6):
        with pytest.raises(InvalidRequestError, match=r"1\.\.5 queries"):
            store.submit(wrong, 0, "me")
    store.submit(["q"] * 4, 0, "me")
    store.submit(["q"] * 4, 0, "me")
    with pytest.raises(QueueFullError, match="2 jobs are unfinished already, the limit is 2"):
        store.submit(["q"], 0, "me")
    store.submit(["q"] * 2, 0, "you")
    with pytest.raises(QueueFullError, match="3 jobs are unfinished"):
        store.submit(["q"], 0, "her")
    answer(store, store.claim(worker_name(), 99))
    with pytest.raises(QueueFullError, match=r"8 queries .* limit of 9") as full:
        store.submit(["q"] * 2, 0, "me")
    assert full.value.retry_after_s == 100
    with pytest.raises(QueueFullError, match=r"10 queries .* limit of 12"):
        store.submit(["q"] * 3, 0, "her")
    clock.now += 100
    store.sweep()
    store.submit(["q"] * 5, 0, "me")


def test_a_process_is_known_by_when_it_started_too() -> None:
    mine = worker_name()
    machine, pid, started, nonce = mine.split()
    assert not is_dead(mine)
    assert is_dead(f"{machine} {pid} {started}1 {nonce}")  # its id was given out again
    assert not is_dead(f"elsewhere {pid} 1 {nonce}")  # nothing is known
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            NAME_YOURSELF,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        other = child.stdout.readline().strip()
        assert not is_dead(other)
        child.kill()
        child.stdout.read()
        for _ in range(5_000):
            if is_dead(other):  # though not waited for yet: its id is still taken
                break
            time.sleep(0.001)
        else:
            pytest.fail("a dead process counts as alive")
    assert is_dead(other)


def work(path: Path, seed: int, submitted: threading.Event) -> list[tuple[str, int]]:
    """Claim, and lose, put back or finish, until nothing is left; returns what was ended."""
    chance, worker, store = random.Random(seed), worker_name(), JobStore(path, NEVER_LOST)
    ended: list[tuple[str, int]] = []
    while True:
        last = submitted.is_set()
        claimed = store.claim(worker, chance.randint(1, 20))
        fate = chance.random()
        if fate < 0.1:
            store.release(claimed, "lost")
        elif fate < 0.2:
            store.release_worker(worker)
            assert answer(store, claimed) == 0
        elif answer(store, claimed) == len(claimed):
            ended += places(claimed)
        if last and not claimed:
            store.close()
            return ended


def submit_and_cancel(path: Path, seed: int) -> list[str]:
    chance, store = random.Random(seed), JobStore(path, NEVER_LOST)
    jobs: list[str] = []
    for _ in range(20):
        jobs.append(store.submit(["q"] * chance.randint(1, 20), chance.randint(-3, 3), "me"))
        if chance.random() < 0.2:
            store.cancel(chance.choice(jobs), "me")
    store.close()
    return jobs


def test_whatever_workers_do_everything_ends_once(tmp_path: Path) -> None:
    path, submitted = tmp_path / "jobs.sqlite", threading.Event()
    with ThreadPoolExecutor(5) as pool:
        workers = [pool.submit(work, path, seed, submitted) for seed in range(3)]
        submitters = [pool.submit(submit_and_cancel, path, seed) for seed in (10, 11)]
        jobs = [job for one in submitters for job in one.result()]
        submitted.set()
        ended = [place for one in workers for place in one.result()]
    assert len(set(ended)) == len(ended)
    store = JobStore(path, NEVER_LOST)
    for job in jobs:
        status = store.status(job, "me", 0, 99)
        assert len(status.results) == status.completed
        assert status.status == "cancelled" or (
            status.status == "completed" and status.completed == status.total
        )
    statistics = store.statistics()
    assert (statistics.unfinished_jobs, statistics.running_queries) == (0, 0)
    store.close()


def test_a_store_locked_for_too_long_says_so_and_goes_on(
    open_store: Callable[..., JobStore], tmp_path: Path
) -> None:
    store = open_store(busy_s=0.001)
    job = store.submit(["q"], 0, "me")
    other = sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OverloadedError, match="locked"):
        store.submit(["q"], 0, "me")
    assert store.status(job, "me").status == "queued"
    other.execute("ROLLBACK")
    store.submit(["q"], 0, "me")
    other.execute("PRAGMA user_version = 7")
    other.close()
    with pytest.raises(DataError, match="format 7"):
        open_store()


def test_settings_out_of_their_domain_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="ttl_s must be above 0, got 0"):
        JobSettings(ttl_s=0)

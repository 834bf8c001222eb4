"""Helpers run on other cores than the caller, come when called, and go when closed."""

import os
import threading
from queue import SimpleQueue

import pytest

from dtrag_core.errors import LegFailedError
from dtrag_core.optimization.core_threads import CoreThreads
from dtrag_core.optimization.job_list import Job, JobList
from dtrag_core.types import Candidates


def helpers_of(threads: CoreThreads, helpers: int) -> list[tuple[int, set[int]]]:
    answers: SimpleQueue[tuple[int, set[int]]] = SimpleQueue()
    together = threading.Barrier(helpers)

    def answer() -> None:
        together.wait(30)
        answers.put((threading.get_ident(), os.sched_getaffinity(0)))

    threads.share(answer, helpers)
    return [answers.get() for _ in range(helpers)]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads cannot be pinned here")
def test_each_helper_keeps_to_one_allowed_core_and_the_caller_to_none() -> None:
    allowed = os.sched_getaffinity(0)
    threads = CoreThreads(len(allowed) + 1)
    seen = helpers_of(threads, len(allowed)) if len(allowed) > 1 else helpers_of(threads, 1)
    assert len({thread for thread, _ in seen}) == len(seen)
    for thread, cores in seen:
        assert thread != threading.get_ident()
        assert len(cores) == 1
        assert cores <= allowed
    assert os.sched_getaffinity(0) == allowed
    threads.close()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads cannot be pinned here")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is one core only")
def test_a_helper_of_a_pinned_caller_runs_on_another_core() -> None:
    allowed = os.sched_getaffinity(0)
    threads = CoreThreads()
    try:
        for core in sorted(allowed)[: threads.count]:
            os.sched_setaffinity(0, {core})
            if len(allowed) > 1:
                [(_, cores)] = helpers_of(threads, 1)
                assert cores != {core}
    finally:
        os.sched_setaffinity(0, allowed)
        threads.close()


def test_one_core_has_no_helpers_and_closing_twice_is_harmless() -> None:
    alone = CoreThreads(1)
    assert alone.measure_hop_ns() == 0
    pair = CoreThreads(2)
    assert pair.measure_hop_ns() > 0
    for threads in (alone, pair, pair):
        threads.close()
        threads.share(pytest.fail, 1)


def nothing() -> Candidates:
    raise ZeroDivisionError("ran")


def test_the_caller_does_what_no_helper_takes() -> None:
    with JobList(CoreThreads(1)) as jobs:
        [job] = jobs.add("bm25", [nothing], helpers=1)
        with pytest.raises(LegFailedError, match="bm25 leg failed: ZeroDivisionError: ran"):
            jobs.work()
        assert job.ended


def test_jobs_still_waiting_are_given_up_when_the_block_fails() -> None:
    jobs = JobList(CoreThreads(1))

    def fails_between() -> None:
        with jobs:
            left.extend(jobs.add("vector", [nothing], helpers=1))
            raise KeyError("elsewhere")

    left: list[Job] = []
    with pytest.raises(KeyError):
        fails_between()
    with pytest.raises(LegFailedError, match="given up before it ran"):
        left[0].result()


def test_a_helper_outlives_a_job_that_ends_its_thread() -> None:
    def leaves() -> Candidates:
        raise SystemExit(3)

    threads = CoreThreads(2)
    for _ in range(5):
        with JobList(threads) as jobs:
            jobs.add("bm25", [leaves, leaves], helpers=1)
            with pytest.raises(SystemExit):
                jobs.work()
    assert len(helpers_of(threads, 1)) == 1
    threads.close()

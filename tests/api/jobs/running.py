"""A process that runs the jobs of a store, once told to, until it is killed; not a test."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dtrag_core.api.jobs.records import Outcome, Problem
from dtrag_core.api.jobs.runner import JobRunner, RunnerSettings
from dtrag_core.api.jobs.store import JobStore


async def search(queries: Sequence[str]) -> Sequence[Outcome]:
    await asyncio.sleep(0.001)
    return [one(json.loads(query)) for query in queries]


def one(query: int) -> Outcome:
    return Problem(json.dumps(-query)) if query % 10 == 0 else json.dumps(query * 2)


async def main(path: Path) -> None:
    sys.stdin.readline()
    runner = JobRunner(JobStore(path), search, RunnerSettings(size=4, poll_s=0.02))
    runner.start()
    sys.stdout.write("running\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

"""Keeps batch jobs in SQLite, where several worker processes claim and end their queries."""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from dtrag_core.api.jobs.database import Database
from dtrag_core.api.jobs.processes import is_dead
from dtrag_core.api.jobs.records import (
    Claimed,
    JobSettings,
    JobStatus,
    Outcome,
    Problem,
    StoreStatistics,
)
from dtrag_core.api.jobs.transitions import (
    check_room,
    close_lease,
    end_lease,
    end_queries,
    find_job,
    keep,
    put_back,
)
from dtrag_core.errors import InvalidRequestError, OverloadedError
from dtrag_core.optimization.aging_queue import aged_rank

_SWEPT_AT_A_TIME: Final = 50  # jobs: others wait for the file meanwhile

_WAITING: Final = "lease IS NULL AND outcome IS NULL"


class JobStore:
    """Jobs at `path`: accepted durably, every query and every job ended exactly once.

    A query is claimed under a lease, and what a worker brings counts only while its lease holds. A
    lease ends when its process is dead or its time ran out. All methods block for a moment: call
    them from a thread. `clock` in seconds since the epoch.
    """

    def __init__(
        self,
        path: Path,
        settings: JobSettings | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or JobSettings()
        self._clock = clock
        self._database = Database(path, self.settings.busy_s)

    def submit(
        self,
        queries: Sequence[str],
        priority: int,
        owner: str,
        *,
        owner_jobs: int | None = None,
    ) -> str:
        """Accept a job of at least one query (JSON texts) and return its id: it is durable then.

        `owner_jobs` is how many unfinished ones this owner may have, if not as usual. Raises
        QueueFullError beyond the limits, InvalidRequestError for a job out of its domain.
        """
        settings = self.settings
        if owner_jobs is not None:
            settings = replace(settings, owner_jobs=owner_jobs)
        if not 1 <= len(queries) <= settings.job_queries:
            raise InvalidRequestError(
                f"a job has 1..{settings.job_queries:,} queries, got {len(queries):,}"
            )
        job_id = secrets.token_hex(16)
        now = self._clock()
        rank = aged_rank(now, priority, settings.aging_s)
        with self._database.writing(durable=True) as db:
            check_room(db, settings, owner, len(queries), now)
            job = db.execute(
                "INSERT INTO jobs(id, owner, status, total, submitted_at)"
                " VALUES (?, ?, 'queued', ?, ?)",
                (job_id, owner, len(queries), now),
            ).lastrowid
            db.executemany(
                "INSERT INTO queries(job, place, rank, query) VALUES (?, ?, ?, ?)",
                (
                    (job, place, rank + place * settings.spacing_s, query)
                    for place, query in enumerate(queries)
                ),
            )
            keep(db, owner, len(queries))
        return job_id

    def status(self, job_id: str, owner: str, offset: int = 0, limit: int = 100) -> JobStatus:
        """Return how far a job is, with what came of the queries `offset` to `offset + limit`.

        Raises UnknownJobError, also for a job of another owner.
        """
        with self._database.reading() as db:
            job = find_job(db, job_id, owner)
            number, status, total, completed, failed, submitted_at, ended_at, expires_at = job
            ended: Sequence[tuple[int, str, int]] = ()
            if expires_at is not None and expires_at <= self._clock():
                status = "expired"
            else:
                ended = db.execute(
                    "SELECT place, outcome, problem FROM queries WHERE job = ? AND place >= ?"
                    " AND place < ? AND outcome IS NOT NULL ORDER BY place",
                    (number, offset, offset + limit),
                ).fetchall()
        return JobStatus(
            job_id,
            status,
            total,
            completed,
            failed,
            submitted_at,
            ended_at,
            expires_at,
            tuple((place, text) for place, text, problem in ended if not problem),
            tuple((place, text) for place, text, problem in ended if problem),
        )

    def cancel(self, job_id: str, owner: str) -> JobStatus:
        """End a job, unless it has ended; what ran is kept, what runs is discarded."""
        now = self._clock()
        with self._database.writing(durable=True) as db:
            number = find_job(db, job_id, owner)[0]
            unfinished = db.execute(
                "UPDATE jobs SET status = 'cancelled', ended_at = ?, expires_at = ?"
                " WHERE number = ? AND ended_at IS NULL",
                (now, now + self.settings.ttl_s, number),
            ).rowcount
            if unfinished:
                gone = db.execute(
                    "DELETE FROM queries WHERE job = ? AND outcome IS NULL", (number,)
                )
                keep(db, owner, -gone.rowcount)
        return self.status(job_id, owner, 0, 0)

    def claim(self, worker: str, n: int) -> list[Claimed]:
        """Lease up to `n` waiting queries, of whichever jobs are due, to a worker (`worker_name`).

        First takes back those whose worker was lost. A query that was lost with its worker
        `lone_strikes` times comes alone.
        """
        with self._database.reading() as db:
            idle = db.execute(
                f"SELECT NOT EXISTS(SELECT 1 FROM queries WHERE {_WAITING})"
                " AND NOT EXISTS(SELECT 1 FROM leases)"
            ).fetchone()[0]
        if idle:
            return []
        now = self._clock()
        with self._database.writing(durable=False) as db:
            leases = db.execute("SELECT number, worker, until FROM leases").fetchall()
            dead = {holder for holder in {held[1] for held in leases} if is_dead(holder)}
            for lease, holder, until in leases:
                if until <= now or holder in dead:
                    end_lease(db, lease, "the process that ran it was lost", self.settings, now)
            due = db.execute(
                "SELECT queries.number, queries.job, jobs.id, place, query, strikes"
                f" FROM queries JOIN jobs ON jobs.number = job WHERE {_WAITING}"
                " ORDER BY rank, queries.number LIMIT ?",
                (n,),
            ).fetchall()
            suspects = [row[5] >= self.settings.lone_strikes for row in due]
            if any(suspects):
                due = due[: max(suspects.index(True), 1)]
            if not due:
                return []
            lease = db.execute(
                "INSERT INTO leases(worker, until) VALUES (?, ?)",
                (worker, now + self.settings.lease_s),
            ).lastrowid
            assert lease is not None
            db.executemany(
                "UPDATE queries SET lease = ? WHERE number = ?", ((lease, row[0]) for row in due)
            )
            db.executemany(
                "UPDATE jobs SET status = 'running' WHERE number = ? AND status = 'queued'",
                [(job,) for job in {row[1] for row in due}],
            )
        return [
            Claimed(job_id, place, query, number, lease)
            for number, _, job_id, place, query, _ in due
        ]

    def finish(self, claimed: Sequence[Claimed], outcomes: Sequence[Outcome]) -> int:
        """Write what came of claimed queries, those whose lease still holds; return how many ended.

        A refusal (OverloadedError) puts its query back.
        """
        ended: list[tuple[int, int, str | Problem]] = []
        refused: list[tuple[int, int]] = []
        for one, outcome in zip(claimed, outcomes, strict=True):
            if isinstance(outcome, OverloadedError):
                refused.append((one.number, one.lease))
            else:
                ended.append((one.number, one.lease, outcome))
        with self._database.writing(durable=True) as db:
            count = end_queries(db, ended, self._clock(), self.settings.ttl_s)
            for number, lease in refused:
                put_back(db, number, lease)
            for lease in {one.lease for one in claimed}:
                close_lease(db, lease)
        return count

    def release(self, claimed: Iterable[Claimed], fault: str | None = None) -> None:
        """Put claimed queries back; with a `fault`, it counts as a strike against each."""
        with self._database.writing(durable=False) as db:
            for lease in {one.lease for one in claimed}:
                end_lease(db, lease, fault, self.settings, self._clock())

    def release_worker(self, worker: str) -> None:
        """Put back whatever a worker has claimed."""
        with self._database.writing(durable=False) as db:
            held = db.execute("SELECT number FROM leases WHERE worker = ?", (worker,)).fetchall()
            for (lease,) in held:
                end_lease(db, lease, None, self.settings, self._clock())

    def sweep(self) -> bool:
        """Drop results and tombstones whose time is up; return whether there may be more."""
        now = self._clock()
        with self._database.writing(durable=False) as db:
            expired = db.execute(
                "SELECT number, owner FROM jobs WHERE status <> 'expired'"
                " AND expires_at IS NOT NULL AND expires_at <= ? ORDER BY expires_at LIMIT ?",
                (now, _SWEPT_AT_A_TIME),
            ).fetchall()
            for number, owner in expired:
                gone = db.execute("DELETE FROM queries WHERE job = ?", (number,))
                keep(db, owner, -gone.rowcount)
                db.execute("UPDATE jobs SET status = 'expired' WHERE number = ?", (number,))
            forgotten = now - self.settings.tombstone_s
            db.execute(
                "DELETE FROM jobs WHERE status = 'expired' AND expires_at <= ?", (forgotten,)
            )
        return len(expired) == _SWEPT_AT_A_TIME

    def statistics(self) -> StoreStatistics:
        """Return what the store holds now."""
        with self._database.reading() as db:
            jobs, unended, running, kept = db.execute(
                "SELECT COUNT(*), TOTAL(total - completed),"
                " (SELECT COUNT(*) FROM queries WHERE lease IS NOT NULL),"
                " (SELECT TOTAL(queries) FROM kept) FROM jobs WHERE ended_at IS NULL"
            ).fetchone()
        return StoreStatistics(jobs, int(unended) - running, running, int(kept))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

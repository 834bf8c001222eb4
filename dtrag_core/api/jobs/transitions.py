"""What happens to jobs, their queries and leases; each function runs inside a transaction."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from dtrag_core.api.jobs.records import JobSettings, Problem
from dtrag_core.errors import QueueFullError, UnknownJobError

_FULL_RETRY_S: Final = 5.0


def find_job(db: sqlite3.Connection, job_id: str, owner: str) -> Sequence[Any]:
    """Return number, status, total, completed, failed, and times of submission, end and expiry."""
    row: Sequence[Any] | None = db.execute(
        "SELECT number, status, total, completed, failed, submitted_at, ended_at, expires_at"
        " FROM jobs WHERE id = ? AND owner = ?",
        (job_id, owner),
    ).fetchone()
    if row is None:
        raise UnknownJobError(job_id)
    return row


def check_room(
    db: sqlite3.Connection, settings: JobSettings, owner: str, queries: int, now: float
) -> None:
    """Raise QueueFullError if another job of that many queries would exceed a limit."""
    unfinished, owned = db.execute(
        "SELECT COUNT(*), (SELECT COUNT(*) FROM jobs WHERE ended_at IS NULL AND owner = ?)"
        " FROM jobs WHERE ended_at IS NULL",
        (owner,),
    ).fetchone()
    for held, limit in ((unfinished, settings.jobs), (owned, settings.owner_jobs)):
        if held >= limit:
            raise QueueFullError(
                f"{held:,} jobs are unfinished already, the limit is {limit:,}", _FULL_RETRY_S
            )
    kept, owned = db.execute(
        "SELECT TOTAL(queries), TOTAL(queries) FILTER (WHERE owner = ?) FROM kept", (owner,)
    ).fetchone()
    for held, limit in ((kept, settings.queries), (owned, settings.owner_queries)):
        if held + queries > limit:
            first = db.execute(
                "SELECT MIN(expires_at) FROM jobs WHERE expires_at IS NOT NULL"
                " AND status <> 'expired'"
            ).fetchone()[0]
            wait_s = _FULL_RETRY_S if first is None else max(first - now, _FULL_RETRY_S)
            raise QueueFullError(
                f"{int(held):,} queries and their results are kept already; {queries:,} more "
                f"exceed the limit of {limit:,}",
                wait_s,
            )


def keep(db: sqlite3.Connection, owner: str, queries: int) -> None:
    """Note that an owner has that many more (or fewer) queries in the store."""
    db.execute(
        "INSERT INTO kept VALUES (?, ?) ON CONFLICT DO UPDATE SET queries = queries + ?",
        (owner, queries, queries),
    )
    db.execute("DELETE FROM kept WHERE queries <= 0")


def end_queries(
    db: sqlite3.Connection,
    ended: Iterable[tuple[int, int, str | Problem]],
    now: float,
    ttl_s: float,
) -> int:
    """End queries (number, lease, outcome) whose lease holds, and jobs none is left of.

    Returns how many ended.
    """
    completed: Counter[int] = Counter()
    failed: Counter[int] = Counter()
    for number, lease, outcome in ended:
        problem = isinstance(outcome, Problem)
        row = db.execute(
            "UPDATE queries SET outcome = ?, problem = ?, query = NULL, lease = NULL"
            " WHERE number = ? AND lease = ? RETURNING job",
            (outcome.json if isinstance(outcome, Problem) else outcome, problem, number, lease),
        ).fetchone()
        if row is not None:
            completed[row[0]] += 1
            failed[row[0]] += problem
    for job, count in completed.items():
        db.execute(
            "UPDATE jobs SET completed = completed + ?, failed = failed + ? WHERE number = ?",
            (count, failed[job], job),
        )
        db.execute(
            "UPDATE jobs SET ended_at = ?, expires_at = ?,"
            " status = CASE WHEN failed = total THEN 'failed' ELSE 'completed' END"
            " WHERE number = ? AND completed = total AND ended_at IS NULL",
            (now, now + ttl_s, job),
        )
    return completed.total()


def end_lease(
    db: sqlite3.Connection, lease: int, fault: str | None, settings: JobSettings, now: float
) -> None:
    """Let the queries of a lease wait again; a `fault` counts, and too many end a query."""
    if fault is not None:
        db.execute("UPDATE queries SET strikes = strikes + 1 WHERE lease = ?", (lease,))
        hopeless = db.execute(
            "SELECT number, strikes FROM queries WHERE lease = ? AND strikes >= ?",
            (lease, settings.most_strikes),
        ).fetchall()
        given_up = ((number, lease, _given_up(strikes, fault)) for number, strikes in hopeless)
        end_queries(db, given_up, now, settings.ttl_s)
    db.execute("UPDATE queries SET lease = NULL WHERE lease = ?", (lease,))
    db.execute("DELETE FROM leases WHERE number = ?", (lease,))


def put_back(db: sqlite3.Connection, number: int, lease: int) -> None:
    """Let one query wait again, if its lease holds."""
    db.execute("UPDATE queries SET lease = NULL WHERE number = ? AND lease = ?", (number, lease))


def close_lease(db: sqlite3.Connection, lease: int) -> None:
    """Forget a lease unless queries are still held by it."""
    db.execute(
        "DELETE FROM leases WHERE number = ?"
        " AND NOT EXISTS(SELECT 1 FROM queries WHERE lease = leases.number)",
        (lease,),
    )


def _given_up(tries: int, fault: str) -> Problem:
    detail = f"given up after {tries} tries: {fault}"
    problem = {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": detail,
    }
    return Problem(json.dumps(problem))

"""The SQLite file behind the job store: its tables, and transactions on it."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from dtrag_core.errors import DataError, OverloadedError

_VERSION: Final = 1

# A query waits while it has neither lease nor outcome. Numbers of leases are never used again, so
# that a worker that lost its lease cannot take another for its own.
_SCHEMA: Final = f"""
CREATE TABLE jobs(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    status TEXT NOT NULL,
    total INTEGER NOT NULL,
    completed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    submitted_at REAL NOT NULL,
    ended_at REAL,
    expires_at REAL
) STRICT;
CREATE INDEX unfinished ON jobs(owner) WHERE ended_at IS NULL;
CREATE INDEX expiring ON jobs(expires_at) WHERE expires_at IS NOT NULL AND status <> 'expired';
CREATE INDEX tombstones ON jobs(expires_at) WHERE status = 'expired';
CREATE TABLE queries(
    number INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    place INTEGER NOT NULL,
    rank REAL NOT NULL,
    query TEXT,
    strikes INTEGER NOT NULL DEFAULT 0,
    lease INTEGER,
    outcome TEXT,
    problem INTEGER,
    UNIQUE(job, place)
) STRICT;
CREATE INDEX waiting ON queries(rank, number) WHERE lease IS NULL AND outcome IS NULL;
CREATE INDEX leased ON queries(lease) WHERE lease IS NOT NULL;
CREATE TABLE leases(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    worker TEXT NOT NULL,
    until REAL NOT NULL
) STRICT;
CREATE TABLE kept(owner TEXT PRIMARY KEY, queries INTEGER NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""


class Database:
    """Transactions on the file at `path`, which is created if missing; for several processes.

    Readers wait for nobody; writers wait for each other, up to `busy_s` seconds, and then raise
    OverloadedError. Thread-safe; to be opened anew after a fork.
    """

    def __init__(self, path: Path, busy_s: float) -> None:
        self._busy_s = busy_s
        path.touch(mode=0o600)  # queries are nobody else's business
        self._writer = _connect(path, busy_s)
        _prepare(self._writer, path, busy_s)
        self._reader = _connect(path, busy_s)
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees one state of the file throughout."""
        with self._read_lock, self._transaction(self._reader, "BEGIN"):
            yield self._reader

    @contextmanager
    def writing(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """Give a connection whose changes all last or, after an exception, none.

        `durable` ones outlive a loss of power once this returns; all outlive the process.
        """
        with self._write_lock:
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with self._transaction(self._writer, "BEGIN IMMEDIATE"):
                yield self._writer

    def close(self) -> None:
        """Close the file."""
        with self._read_lock, self._write_lock:
            self._reader.close()
            self._writer.close()

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection, begin: str) -> Iterator[None]:
        try:
            connection.execute(begin)
            try:
                yield
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            raise OverloadedError(
                f"the job store was locked by others for {self._busy_s:g} s", 1.0
            ) from error


def _connect(path: Path, busy_s: float) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)


def _prepare(connection: sqlite3.Connection, path: Path, busy_s: float) -> None:
    """Make the tables unless they are there; several processes may do so at the same time."""
    started = time.monotonic()
    while True:  # SQLite does not wait by itself for whoever else changes the journal's mode
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            break
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() - started > busy_s:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA journal_size_limit = 67108864").close()
    with closing(connection.execute("PRAGMA user_version")) as found:
        version = found.fetchone()[0]
    if version == 0:
        connection.execute("BEGIN IMMEDIATE")
        with closing(connection.execute("PRAGMA user_version")) as found:
            version = found.fetchone()[0]
        if version == 0:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            version = _VERSION
        connection.execute("COMMIT")
    if version != _VERSION:
        connection.close()
        raise DataError(
            f"{path} holds jobs in format {version}, this version reads {_VERSION}; "
            "let the version that wrote it finish them, or move the file away"
        )


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

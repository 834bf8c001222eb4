"""The process that writes an index while this one searches it."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from types import TracebackType
from typing import Any, Final, Self

from dtrag_core.bench.ingest_feed import FeedOrder
from dtrag_core.bench.worker import ONE_THREAD
from dtrag_core.errors import MeasuringError

_PATIENCE_S: Final = 120.0


class WriterProcess:
    """The process of `dtrag_core.bench.ingest_feed`; `batches` is what it said."""

    def __init__(self, order: FeedOrder) -> None:
        self.batches: list[dict[str, Any]] = []
        self._settled = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dtrag_core.bench.ingest_feed"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )
        self._listener = threading.Thread(target=self._listen, name="writer", daemon=True)
        self._listener.start()
        self._tell(asdict(order))

    def write_for(self, seconds: float) -> None:
        """Have it write for so long, from now on."""
        self._tell(seconds)

    def settle(self) -> None:
        """Wait until it has written and merged everything, or is ready to begin."""
        if not self._settled.wait(_PATIENCE_S):
            raise MeasuringError(f"the writer did not come to rest within {_PATIENCE_S:g} s")
        if not self._listener.is_alive():
            self._process.wait(_PATIENCE_S)
            raise MeasuringError(
                f"the writer ended by itself with exit code {self._process.returncode}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()  # which ends it
        self._listener.join()  # until it has said everything: its output cannot be closed before
        with self._process:
            pass

    def _tell(self, order: object) -> None:
        self._settled.clear()
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            said = json.loads(line)
            if "generation" in said:
                self.batches.append(said)
            else:
                self._settled.set()
        self._settled.set()

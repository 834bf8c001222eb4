"""What the exit status of `dtrag` says."""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """0 also when targets fail: a FAIL honestly measured is a result. `--gate` changes that."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    TARGET_FAILED = 10
    TARGET_OPEN = 11
    INTERRUPTED = 130
    BROKEN_PIPE = 141


def gate_code(targets: Iterable[Mapping[str, Any]]) -> ExitCode:
    """Return what `--gate` makes of a result's targets: one FAIL outweighs any INCONCLUSIVE."""
    verdicts = {target["verdict"] for target in targets}
    if "FAIL" in verdicts:
        return ExitCode.TARGET_FAILED
    if verdicts - {"PASS"}:
        return ExitCode.TARGET_OPEN
    return ExitCode.DONE

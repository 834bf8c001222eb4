"""The memory a process took at most."""

import resource
import sys
from pathlib import Path


def peak_memory(status: Path = Path("/proc/self/status")) -> int:
    """Return the most bytes this process ever had resident, mapped files among them.

    Where the system keeps it, from its own account of this program: `ru_maxrss` begins with what
    the process that started this one had.
    """
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10

"""The machine and the software a run was made on, and what else the machine did meanwhile.

Holds no host name and no user name. What a system does not say is None.
"""

import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import psutil
import threadpoolctl  # type: ignore[import-untyped]

from dtrag_core.optimization.core_threads import allowed_cores

PACKAGES: Final = (
    "dtrag-bench",
    "numpy",
    "scipy",
    "numba",
    "llvmlite",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "tokenizers",
    "wordllama",
    "PyStemmer",
    "onnxruntime",
    "cachetools",
    "matplotlib",
    "papermill",
    "jupyterlab",
    "locust",
    "fastapi",
    "pydantic",
    "uvicorn",
    "uvloop",
    "httptools",
    "orjson",
)
THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TOKENIZERS_PARALLELISM",
    "OPENBLAS_CORETYPE",
)


def capture_environment() -> dict[str, Any]:
    """Return the block `environment` of a result, without `host` (see `HostWatch`).

    Native thread pools are those of the libraries loaded by now.
    """
    return {
        "cpu_model": cpu_model(),
        "architecture": platform.machine(),
        "cores": cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "os": _os_name(),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": _package_versions(),
        "thread_pools": [
            {
                "library": pool["internal_api"],
                "version": pool.get("version"),
                "architecture": pool.get("architecture"),
                "threads": pool["num_threads"],
            }
            for pool in threadpoolctl.threadpool_info()
        ],
        "thread_env": {name: os.environ.get(name) for name in THREAD_VARIABLES},
        "git": git_state(Path(__file__).parent),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "container": container_limits(),
    }


def cores() -> int:
    """Return how many cores this process may run on."""
    return len(allowed_cores())


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return the processor's name, None where the system does not say."""
    for line in (_read(cpuinfo) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or None


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def _package_versions() -> dict[str, str]:
    """Return the versions of those of `PACKAGES` that are installed."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return `commit` and `dirty` of the checkout that tracks `folder`; None outside of one.

    A package merely installed inside somebody's checkout is not tracked by it.
    """

    def git(*arguments: str) -> str | None:
        try:
            run = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=30,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return run.stdout.strip()

    commit = git("rev-parse", "HEAD") if git("ls-files", "--", ".") else None
    status = git("status", "--porcelain")
    return None if commit is None or status is None else {"commit": commit, "dirty": bool(status)}


def container_limits(root: Path = Path("/sys/fs/cgroup")) -> dict[str, Any]:
    """Return `cpu_limit`, cores, and `memory_limit_bytes` of the control group, None if unlimited.

    Reads version 2 (`cpu.max`, `memory.max`) or version 1 below `root`.
    """
    quota, period = [*(_read(root / "cpu.max") or "").split(), "", ""][:2]
    if not quota:
        quota = _read(root / "cpu" / "cpu.cfs_quota_us") or ""
        period = _read(root / "cpu" / "cpu.cfs_period_us") or ""
    memory = _read(root / "memory.max") or _read(root / "memory" / "memory.limit_in_bytes") or ""
    limited = memory.isdigit() and int(memory) < psutil.virtual_memory().total
    return {
        "cpu_limit": int(quota) / int(period) if quota.isdigit() and period.isdigit() else None,
        "memory_limit_bytes": int(memory) if limited else None,
    }


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


class CpuTimes(Protocol):
    """Seconds of processor time since boot, over all cores, by what they were spent on."""

    def _asdict(self) -> dict[str, float]: ...


@dataclass(frozen=True, slots=True)
class HostReport:
    """What the machine did during a run of `seconds`.

    `steal_share`: processor time the hypervisor gave to others; None where it does not say.
    `busy_share`: processor time anybody here used. Load averages are those of one minute.
    """

    seconds: float
    steal_share: float | None
    busy_share: float
    load_start: float | None
    load_end: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the block `environment.host` of a result."""
        return asdict(self)


def host_shares(before: CpuTimes, after: CpuTimes) -> tuple[float | None, float]:
    """Return (steal, busy) as shares of the processor time that passed between two readings."""
    start, end = before._asdict(), after._asdict()
    # Guests' time is part of user and nice already.
    passed = {k: end[k] - start[k] for k in end if k not in ("guest", "guest_nice")}
    total = sum(passed.values())
    if total <= 0:
        return None, 0.0
    idle = passed["idle"] + passed.get("iowait", 0.0)
    steal = passed["steal"] / total if "steal" in passed else None
    return steal, min(max(1 - idle / total - (steal or 0.0), 0.0), 1.0)


class HostWatch:
    """Watches the host during a block; `report` is complete after it.

    Two readings, one at each end: watching costs the run nothing.
    """

    def __enter__(self) -> Self:
        self._start_ns = time.perf_counter_ns()
        self._times: CpuTimes = psutil.cpu_times()
        self._load = _load_average()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        steal, busy = host_shares(self._times, psutil.cpu_times())
        seconds = (time.perf_counter_ns() - self._start_ns) / 1e9
        self.report = HostReport(seconds, steal, busy, self._load, _load_average())


def _load_average() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None

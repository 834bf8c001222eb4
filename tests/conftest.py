"""What every test may use: the judged collection, and settings for compiled, single-thread code."""

import os
from pathlib import Path

# Before anything imports numpy or numba: one BLAS thread, and one kernel cache a test process,
# since numba's cache index is not safe against two processes compiling the same file at once.
ROOT = Path(__file__).parents[1]
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["NUMBA_CACHE_DIR"] = str(
    ROOT / ".pytest_cache" / "numba" / os.environ.get("PYTEST_XDIST_WORKER", "main")
)

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# The first call of a compiled kernel takes seconds: time per example says nothing here.
settings.register_profile("dtrag", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dtrag")


@pytest.fixture(scope="session")
def scifact() -> Path:
    """The SciFact collection in BEIR layout, where the machine has it."""
    folder = ROOT.parent / "shared" / "data" / "scifact"
    if not folder.is_dir():
        pytest.skip(f"judged collection not on this machine: {folder}")
    return folder

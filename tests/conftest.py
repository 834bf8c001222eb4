"""What every test may use: the judged collection, and settings for compiled, single-thread code."""

import hashlib
import importlib
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before anything imports numpy or numba: one BLAS thread, and one kernel cache a test process,
# since numba's cache index is not safe against two processes compiling the same file at once.
# Numba looks only at the file of a kernel itself, not at those of kernels it calls, so that any
# edit of the package gets a cache of its own.
ROOT = Path(__file__).parents[1]
SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted((ROOT / "dtrag_core").rglob("*.py")))
)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
KERNELS = ROOT / ".pytest_cache" / f"numba-{SOURCES.hexdigest()[:12]}"
COMPILED = KERNELS / "compiled"
CACHE = KERNELS / os.environ.get("PYTEST_XDIST_WORKER", "main")
if COMPILED.is_dir() and not CACHE.is_dir():
    shutil.copytree(COMPILED, CACHE)
os.environ["NUMBA_CACHE_DIR"] = str(CACHE)

# A shell's background job ignores interrupts, and so would the processes that tests interrupt:
# what is ignored is inherited, what is handled is not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda number, frame: None)

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# The first call of a compiled kernel takes seconds: time per example says nothing here.
settings.register_profile("dtrag", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dtrag")


def pytest_configure(config: pytest.Config) -> None:
    """Compile each leg once, side by side, for all test processes that are going to be started."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        return
    if COMPILED.is_dir():
        return
    KERNELS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KERNELS) as folder:
        caches = {leg: Path(folder) / leg for leg in ("bm25", "vector")}
        legs = [
            subprocess.Popen(
                [sys.executable, str(ROOT / "tests" / "warm_up.py"), leg],
                env={**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)},
            )
            for leg, cache in caches.items()
        ]
        statuses = [leg.wait() for leg in legs]
        if any(statuses):
            raise pytest.UsageError("compiling the kernels failed, see above")
        # What both compiled comes whole from the second: its index, and all that this names.
        for cache in caches.values():
            shutil.copytree(cache, Path(folder) / "both", dirs_exist_ok=True)
        (Path(folder) / "both").rename(COMPILED)


@pytest.fixture(scope="session")
def scifact() -> Path:
    """The SciFact collection in BEIR layout, where the machine has it."""
    folder = ROOT.parent / "shared" / "data" / "scifact"
    if not folder.is_dir():
        pytest.skip(f"judged collection not on this machine: {folder}")
    return folder


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real corpus: what the standard library's docstrings say, module path as taxonomy."""
    path = tmp_path_factory.mktemp("corpus") / "stdlib.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for chunk in _docstrings():
            file.write(json.dumps(chunk) + "\n")
    return path


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this test session keeps its indexes."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def small_index(corpus_file: Path, home: Path) -> Path:
    """The index directory of the small corpus with LSA vectors; read only."""
    from dtrag_core.datasets.registry import open_dataset
    from dtrag_core.workbench import prepare

    return prepare(open_dataset(f"jsonl:{corpus_file}"), "lsa", directory=home / "small")


_MODULES = """
    argparse ast asyncio base64 calendar cmath codecs collections concurrent.futures configparser
    contextlib copy csv ctypes datetime decimal difflib dis email.message enum fractions functools
    gettext glob gzip hashlib heapq html.parser http.client imaplib importlib.resources inspect io
    ipaddress itertools json linecache logging lzma mailbox math mimetypes multiprocessing.pool
    numbers operator optparse os pathlib pdb pickletools pkgutil platform plistlib poplib pprint
    queue random re sched secrets selectors shelve shlex shutil signal smtplib socket socketserver
    sqlite3 ssl statistics string struct subprocess tarfile tempfile textwrap threading timeit
    tokenize traceback types unittest.case unittest.mock urllib.parse urllib.request uuid
    warnings weakref xml.dom.minidom xml.etree.ElementTree xmlrpc.client zipfile zoneinfo
"""


def _docstrings() -> Iterator[dict[str, object]]:
    for name in _MODULES.split():
        module = importlib.import_module(name)
        for attribute, value in sorted(vars(module).items()):
            text = inspect.getdoc(value) if callable(value) else None
            if attribute.startswith("_") or not text or len(text.split()) < 12:
                continue
            yield {
                "id": f"{name}.{attribute}",
                "title": f"{name}.{attribute}",
                "text": text,
                "path": ["python", *name.split(".")],
                "doc_type": "class" if inspect.isclass(value) else "function",
            }

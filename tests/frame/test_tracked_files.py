"""Nothing that goes into the repository names the machine it was written on."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MACHINE_PATH = re.compile(rb"(?<![\w.~])/(?:work|root|home|farm|Users)/[\w.-]")


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Every file git has or would take."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_path_of_this_machine(tracked: list[Path]) -> None:
    text = [path for path in tracked if b"\0" not in path.read_bytes()[:8000]]

    assert ROOT / "pyproject.toml" in text
    found = {path: MACHINE_PATH.findall(path.read_bytes()) for path in text}
    assert not {path: paths for path, paths in found.items() if paths}


def test_no_requirement_file_names_an_address(tracked: list[Path]) -> None:
    requirements = [
        path for path in tracked if path.suffix == ".lock" or path.stem == "environment"
    ]

    assert ROOT / "requirements.lock" in requirements
    assert not [path for path in requirements if b"://" in path.read_bytes()]


def test_runs_and_caches_are_not_tracked(tracked: list[Path]) -> None:
    names = {path.relative_to(ROOT).as_posix() for path in tracked}

    assert {name for name in names if name.startswith("reports/")} == {"reports/README.md"}
    assert not {name for name in names if "__pycache__" in name or name.startswith(".dtrag/")}

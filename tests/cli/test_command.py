"""The command as a whole: help, version, and what errors become."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dtrag_core import __version__
from dtrag_core.cli import ExitCode

Dtrag = Callable[..., subprocess.CompletedProcess[str]]
COMMANDS = (
    "report",
    "bench",
    "compare",
    "search",
    "certified",
    "index build",
    "index info",
    "index verify",
    "index add",
    "index delete",
    "index compact",
    "peers",
    "scaling",
    "serve",
    "keys add",
    "keys list",
    "keys revoke",
    "sparse build",
    "sparse search",
    "torture",
    "datasets",
    "embedders",
    "selfcheck",
    "check",
)


def test_the_version_is_the_package_s(dtrag: Dtrag) -> None:
    ran = dtrag("--version")

    assert (ran.returncode, ran.stdout) == (0, f"dtrag {__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(dtrag: Dtrag, name: str) -> None:
    ran = dtrag(*name.split(), "--help")

    assert ran.returncode == 0
    assert f"usage: dtrag {name} " in ran.stdout


def test_help_names_every_command_and_the_exit_codes(dtrag: Dtrag) -> None:
    said = dtrag("--help").stdout

    assert all(f"    {name.split()[0]} " in said for name in COMMANDS)
    assert "10 if a target" in said


def test_help_and_version_do_not_wait_for_the_library() -> None:
    heavy = "sorted(sys.modules.keys() & {'numba', 'scipy', 'sklearn', 'matplotlib', 'pandas'})"
    asked = f"import sys, dtrag_core.cli.command as c; c._parser().format_help(); print({heavy})"

    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


@pytest.mark.parametrize("arguments", [[], ["measure"], ["search"], ["bench", "--rates", "fast"]])
def test_what_cannot_be_parsed_is_a_usage_error(dtrag: Dtrag, arguments: list[str]) -> None:
    ran = dtrag(*arguments)

    assert ran.returncode == ExitCode.USAGE
    assert ran.stdout == ""
    assert "dtrag" in ran.stderr


def test_an_error_of_the_system_is_a_line(dtrag: Dtrag, notes: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where a folder should be")

    ran = dtrag("search", "bird", "--dataset", f"jsonl:{notes}")

    assert ran.returncode == ExitCode.ERROR
    assert ran.stderr.startswith("dtrag: ")
    assert str(tmp_path / "home") in ran.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dtrag_core.cli", "datasets"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        said = running.stderr.read()

    assert running.returncode == ExitCode.BROKEN_PIPE
    assert said == ""

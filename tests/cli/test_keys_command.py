"""`dtrag keys`: made, shown once, listed and revoked."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from dtrag_core.api.keys import KeyRing
from dtrag_core.cli import ExitCode

Dtrag = Callable[..., subprocess.CompletedProcess[str]]


def test_a_key_s_life(dtrag: Dtrag, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    made = dtrag("keys", "add", "phone", "--rate", "5", "--file", file)
    key = made.stdout.strip()
    now = [0.0]
    ring = KeyRing(file, clock=lambda: now[0])

    found = ring.find(key.encode())
    assert found is not None
    assert (found.name, found.rate, found.burst) == ("phone", 5, 5)
    assert "phone     5      5    16  search, write" in dtrag("keys", "list", "--file", file).stdout
    assert key.rpartition("_")[2] not in file.read_text(encoding="utf-8")

    twice = dtrag("keys", "add", "phone", "--file", file)
    assert twice.returncode == ExitCode.USAGE
    assert dtrag("keys", "revoke", "phone", "--file", file).returncode == ExitCode.DONE
    assert ring.find(key.encode()) is not None  # it looks once a second
    now[0] = 1.5
    assert ring.find(key.encode()) is None
    assert dtrag("keys", "revoke", "phone", "--file", file).returncode == ExitCode.USAGE


def test_a_file_that_holds_no_keys_is_an_error(dtrag: Dtrag, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    assert "dtrag keys add" in dtrag("keys", "list", "--file", file).stderr
    file.write_text("[]", encoding="utf-8")
    assert dtrag("keys", "list", "--file", file).returncode == ExitCode.ERROR

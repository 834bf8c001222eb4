import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jsonschema
import pytest

from dtrag_core.bench.environment import (
    HostWatch,
    capture_environment,
    container_limits,
    cores,
    cpu_model,
    git_state,
    host_shares,
)
from dtrag_core.bench.results import result_schema


class Times(NamedTuple):
    user: float
    system: float
    idle: float
    iowait: float
    steal: float
    guest: float


class MacTimes(NamedTuple):
    user: float
    nice: float
    system: float
    idle: float


def test_the_environment_fits_the_schema_and_names_the_libraries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    environment = capture_environment()
    with HostWatch() as watch:
        sum(range(1000))
    schema = result_schema()
    jsonschema.validate(
        {**environment, "host": watch.report.to_json()},
        {**schema["properties"]["environment"], "$defs": schema["$defs"]},
    )
    assert {"numpy", "scipy", "numba", "scikit-learn"} <= set(environment["packages"])
    assert environment["thread_env"]["OMP_NUM_THREADS"] == "1"
    assert environment["thread_env"]["MKL_NUM_THREADS"] is None
    assert platform.python_version() in environment["python"]
    assert 1 <= environment["cores"] == cores() <= (os.cpu_count() or 1)


def _strings(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from _strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value)
    elif isinstance(node, str):
        yield node


def test_no_host_and_no_user_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "someone-secret")
    monkeypatch.setenv("HOSTNAME", "box-secret")
    found = list(_strings(capture_environment()))
    assert "numpy" in found
    assert not any("secret" in each for each in found)
    assert platform.node() not in found


def test_what_the_system_does_not_say_is_none(tmp_path: Path) -> None:
    assert cpu_model(tmp_path / "cpuinfo") == (platform.processor() or None)
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\nx: y\n")
    assert cpu_model(tmp_path / "cpuinfo") == "Fast CPU @ 3 GHz"


@pytest.mark.parametrize(
    ("files", "cpu", "memory"),
    [
        ({}, None, None),
        ({"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        ({"cpu.max": "150000 100000\n", "memory.max": "1048576\n"}, 1.5, 1048576),
        (
            {
                "cpu/cpu.cfs_quota_us": "50000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "2097152",
            },
            0.5,
            2097152,
        ),
        (
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            None,
            None,
        ),
    ],
)
def test_container_limits(
    tmp_path: Path, files: dict[str, str], cpu: float | None, memory: int | None
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert container_limits(tmp_path) == {"cpu_limit": cpu, "memory_limit_bytes": memory}


def _git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.org")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)


def test_commit_and_dirty_tree_of_the_checkout_that_tracks_a_folder(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    package, installed = tmp_path / "package", tmp_path / "installed"
    for folder in (package, installed):
        folder.mkdir()
        (folder / "module.py").write_text("x = 1\n")
    _git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("installed/\n")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")
    state = git_state(package)
    assert state is not None
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (package / "module.py").write_text("x = 2\n")
    assert git_state(package) == {"commit": state["commit"], "dirty": True}
    assert git_state(installed) is None


def test_steal_and_busy_are_shares_of_the_time_that_passed() -> None:
    before, after = Times(10, 10, 70, 5, 5, 3), Times(40, 20, 110, 15, 15, 20)
    assert host_shares(before, after) == (0.1, 0.4)
    assert host_shares(MacTimes(1, 0, 1, 2), MacTimes(2, 0, 1, 5)) == (None, 0.25)
    assert host_shares(before, before) == (None, 0.0)

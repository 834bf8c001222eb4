"""A build that is interrupted or killed leaves the index that was there as it was."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dtrag_core.cli import ExitCode, main
from dtrag_core.index.manifest import verify_files

DATASET = "synthetic:10000"


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".*") if path.suffix != ".lock")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("builds") / "index"
    assert main(["index", "build", "--dataset", DATASET, "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
def test_the_previous_index_stays(built: Path, number: signal.Signals) -> None:
    before = verify_files(built)
    half_made = built.with_name(f".{built.name}.building")
    command = [sys.executable, "-m", "dtrag_core.cli", "index", "build", "--rebuild"]
    with subprocess.Popen(
        [*command, "--dataset", DATASET, "--out", str(built)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DTRAG_HOME": str(built.parent / "home")},
    ) as running:
        while not (half_made / "embedder.npz").exists():
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(timeout=0.01)
        running.send_signal(number)
        assert running.stderr
        said = running.stderr.read()

    assert verify_files(built) == before
    if number == signal.SIGINT:
        assert running.returncode == ExitCode.INTERRUPTED
        assert said.splitlines()[-1].startswith("dtrag: interrupted")
    else:
        assert running.returncode == -number
    assert leftovers(built.parent)
    assert main(["search", "x", "--index", str(built)]) == 0
    main(["index", "build", "--dataset", "synthetic:10000", "--rebuild", "--out", str(built)])
    assert not leftovers(built.parent)
    assert verify_files(built).content_hash == before.content_hash

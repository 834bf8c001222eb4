"""What every test may use."""

from pathlib import Path

import pytest
from hypothesis import settings

# The first call of a compiled kernel takes seconds: time per example says nothing here.
settings.register_profile("dtrag", deadline=None)
settings.load_profile("dtrag")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def scifact() -> Path:
    """The SciFact collection in BEIR layout, where the machine has it."""
    folder = ROOT.parent / "shared" / "data" / "scifact"
    if not folder.is_dir():
        pytest.skip(f"judged collection not on this machine: {folder}")
    return folder

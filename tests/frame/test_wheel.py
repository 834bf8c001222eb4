"""What a user who installs the wheel receives."""

import configparser
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """The built wheel, as a path that can be walked."""
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        name = build_wheel(str(folder))
    return zipfile.Path(folder / name)


def files(folder: Path) -> set[str]:
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    left_out = {"__pycache__", ".ipynb_checkpoints"}
    return {path.as_posix() for path in found if not left_out & {*path.parts}}


def test_it_holds_the_package_the_notebooks_and_nothing_else(wheel: zipfile.Path) -> None:
    names = {one.filename for one in wheel.root.infolist() if ".dist-info/" not in one.filename}

    package = files(ROOT / "dtrag_core")
    notebooks = files(ROOT / "notebooks")
    assert {"py.typed", "bench/result.schema.json"} <= package
    assert {"phase2_report.ipynb", "phase2_report.py"} <= notebooks
    expected = {f"dtrag_core/{path}" for path in package}
    assert names == expected | {f"dtrag_core/notebooks/{path}" for path in notebooks}


def test_it_brings_the_command_and_the_licence(wheel: zipfile.Path) -> None:
    (info,) = [folder for folder in wheel.iterdir() if folder.name.endswith(".dist-info")]
    scripts = configparser.ConfigParser()
    scripts.read_string((info / "entry_points.txt").read_text())

    assert scripts["console_scripts"]["dtrag"] == "dtrag_core.cli:main"
    assert "Apache License" in (info / "licenses" / "LICENSE").read_text()

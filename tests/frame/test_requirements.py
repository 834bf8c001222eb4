"""pyproject.toml, requirements.lock, environment.yml and the imports of the package agree."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FIXED = [
    "jupyterlab",
    "papermill",
    "pandas",
    "matplotlib",
    "numpy",
    "scikit-learn",
    "locust",
    "pytest",
]
PIN = re.compile(r"^(?P<requirement>[^\s#-].*?)(?P<hashes>( --hash=sha256:[0-9a-f]{64})+)$")

Requirements = dict[str, SpecifierSet]


def parse(lines: list[str]) -> Requirements:
    parsed = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): one.specifier for one in parsed}


CORE = parse(PROJECT["dependencies"])
EXTRAS = parse([line for extra in PROJECT["optional-dependencies"].values() for line in extra])


@pytest.fixture(scope="module")
def environment() -> list[str | dict[str, list[str]]]:
    """The entries of environment.yml, the pip section as a dict."""
    loaded = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert loaded["channels"] == ["conda-forge"]
    dependencies: list[str | dict[str, list[str]]] = loaded["dependencies"]
    return dependencies


@pytest.fixture(scope="module")
def lock() -> dict[str, list[Requirement]]:
    """Each pinned package with its pins: more than one where they depend on the Python version."""
    text = (ROOT / "requirements.lock").read_text().replace(" \\\n   ", "")
    pins: dict[str, list[Requirement]] = {}
    for line in text.splitlines():
        match = PIN.match(line)
        assert match, (
            f"neither a pin with hashes nor anything else a lock should hold: {line[:200]}"
        )
        pin = Requirement(match["requirement"])
        pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    return pins


def test_conda_asks_for_what_pip_asks_for(
    environment: list[str | dict[str, list[str]]],
) -> None:
    conda = [entry for entry in environment if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment if isinstance(entry, dict)]
    asked = parse([*conda, *(line for line in pip if line != "-e .")])

    assert asked.pop("python") == SpecifierSet(PROJECT["requires-python"])
    assert asked.pop("pip") == SpecifierSet()
    assert asked == CORE | EXTRAS
    assert pip[-1] == "-e ."


def test_the_packages_the_workbench_is_made_of_are_core_and_come_from_conda(
    environment: list[str | dict[str, list[str]]],
) -> None:
    conda = parse([entry for entry in environment if isinstance(entry, str)])

    assert set(FIXED) <= CORE.keys()
    assert set(FIXED) <= conda.keys()


@pytest.mark.parametrize("name", sorted(CORE | EXTRAS))
def test_a_requirement_is_pinned_within_its_bounds(
    name: str, lock: dict[str, list[Requirement]]
) -> None:
    for pin in lock[name]:
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert exact.version in (CORE | EXTRAS)[name]


def test_the_lock_names_no_address_and_covers_more_than_was_asked_for(
    lock: dict[str, list[Requirement]],
) -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text()
    assert lock.keys() > (CORE | EXTRAS).keys()


def test_every_import_of_the_package_is_declared() -> None:
    distributions = packages_distributions()
    declared = (CORE | parse(PROJECT["optional-dependencies"]["minilm"])).keys()
    # onnxruntime comes with the extra that needs it; _typeshed exists for the type checker only.
    known = {*sys.stdlib_module_names, "dtrag_core", "onnxruntime", "_typeshed"}
    imported: dict[str, Path] = {}
    for path in (ROOT / "dtrag_core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0]: path for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported[node.module.split(".")[0]] = path

    assert imported.keys() >= {"numpy", "dtrag_core"}
    undeclared = {
        name: path
        for name, path in imported.items()
        if name not in known
        and not {canonicalize_name(dist) for dist in distributions.get(name, [])} & declared
    }
    assert not undeclared

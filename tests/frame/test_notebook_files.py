"""Notebooks are thin, parameterised, paired with a script, and committed without outputs."""

import ast
from pathlib import Path

import jupytext
import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
EXPECTED = {FOLDER / f"{name}.ipynb" for name in ("phase2_report", "explore", "peers", "scaling")}
NOTEBOOKS = [
    pytest.param(path, id=path.stem) for path in sorted(EXPECTED | {*FOLDER.glob("*.ipynb")})
]
Cells = list[tuple[str, str, list[str]]]


def cells(notebook: nbformat.NotebookNode) -> Cells:
    return [(one.cell_type, one.source, one.metadata.get("tags", [])) for one in notebook.cells]


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_it_says_what_its_script_says(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    script = jupytext.read(path.with_suffix(".py"), fmt="py:percent")

    assert notebook.metadata["jupytext"]["formats"] == "ipynb,py:percent"
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert cells(notebook) == cells(script), f"run: jupytext --sync {path.name}"


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_it_is_committed_as_if_never_run(path: Path) -> None:
    code = [one for one in nbformat.read(path, as_version=4).cells if one.cell_type == "code"]

    assert code
    assert not [one.source for one in code if one.outputs or one.execution_count is not None]


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_it_has_one_parameters_cell_of_plain_assignments(path: Path) -> None:
    tagged = [
        source
        for _, source, tags in cells(nbformat.read(path, as_version=4))
        if "parameters" in tags
    ]

    assert len(tagged) == 1
    body = ast.parse(tagged[0]).body
    assert body
    assert all(isinstance(statement, ast.Assign | ast.AnnAssign) for statement in body)


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_it_defines_nothing(path: Path) -> None:
    tree = ast.parse(path.with_suffix(".py").read_text())

    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    assert not [node.name for node in ast.walk(tree) if isinstance(node, definitions)]


def test_no_script_is_without_its_notebook() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py")}

    assert scripts == {path.stem for path in FOLDER.glob("*.ipynb")}

"""Runs the report notebook without a browser: a folder with everything in it, or nothing."""

import ast
import fcntl
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, Final

import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError

from dtrag_core.errors import InvalidRequestError, MeasuringError
from dtrag_core.report.progress import VARIABLE, following
from dtrag_core.types import Progress, no_progress

NOTEBOOK: Final = "phase2_report.ipynb"
_RUNNING: Final = ".running"
_OUT: Final = "out"
_NOTES: Final = "progress"


def find_notebook(name: str = NOTEBOOK) -> Path:
    """Return the path of a notebook: in the installed package, or in the checkout beside it."""
    package = Path(str(files("dtrag_core")))
    places = (package / "notebooks" / name, package.parent / "notebooks" / name)
    for place in places:
        if place.is_file():
            return place
    raise InvalidRequestError(
        f"there is no notebook {name!r} at {places[0]} or {places[1]}; install the package again"
    )


def known_parameters(notebook: Path) -> dict[str, object]:
    """Return the parameters of a notebook and their defaults, from its `parameters` cell."""
    found = papermill.inspect_notebook(notebook)
    return {name: ast.literal_eval(one["default"]) for name, one in found.items()}


def check_parameters(parameters: Mapping[str, Any], known: Mapping[str, object]) -> None:
    """Refuse parameters the notebook does not have, and values of another kind than the default.

    A default of None takes anything. Raises InvalidRequestError.
    """
    for name, value in parameters.items():
        if name not in known:
            raise InvalidRequestError(
                f"unknown parameter {name!r}; known: {', '.join(sorted(known))}"
            )
        default = known[name]
        fits = (float, int) if isinstance(default, float) else (type(default),)
        if default is not None and type(value) not in fits:
            raise InvalidRequestError(
                f"parameter {name} must be like {default!r} ({type(default).__name__}), "
                f"got {value!r} ({type(value).__name__})"
            )


def run_report(
    parameters: Mapping[str, Any],
    out: Path,
    progress: Progress = no_progress,
    notebook: Path | None = None,
) -> Path:
    """Run the notebook with these parameters; return the folder `out/<run-id>` it made.

    The folder holds result.json, report.html, figures/ and the executed notebook. It appears whole
    or not at all: a run that is interrupted or killed leaves earlier reports as they were, and what
    it left behind is removed by the next run. The parameter `out` is set here.

    Raises InvalidRequestError for a parameter the notebook does not have, before anything runs;
    MeasuringError with the message of the cell that failed.
    """
    source = notebook or find_notebook()
    check_parameters({**parameters, _OUT: str(out)}, known_parameters(source))
    with _workspace(out) as work:
        executed = work / source.name
        report = work / "report"
        with following(work / _NOTES, progress):
            _execute(source, executed, {**parameters, _OUT: str(report)}, work)
        made = sorted(path.parent for path in report.glob("*/result.json"))
        if len(made) != 1:
            raise MeasuringError(f"{source} left {len(made)} results in its folder, expected one")
        text = executed.read_text(encoding="utf-8")
        final = out / made[0].name
        for inside, outside in ((report, out), (work, final)):
            text = text.replace(str(inside), str(outside))
        (made[0] / source.name).write_text(text, encoding="utf-8")
        if final.exists():
            raise MeasuringError(f"{final} is there already; move it away and run again")
        made[0].rename(final)
    return final


def _execute(source: Path, executed: Path, parameters: dict[str, Any], work: Path) -> None:
    log = work / "kernel.log"
    env = {VARIABLE: str((work / _NOTES).absolute())}
    try:
        papermill.execute_notebook(
            source,
            executed,
            parameters,
            progress_bar=False,
            kernel_manager_class=_kernel_manager(env, log),
        )
    except PapermillExecutionError as error:
        raise MeasuringError(f"the report stopped: {error.ename}: {error.evalue}") from None
    except RuntimeError:  # DeadKernelError, and what a kernel that never came up raises
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-500:]
        raise MeasuringError(
            f"the report's kernel died, perhaps for want of memory; it said: {said or 'nothing'}"
        ) from None


def _kernel_manager(env: dict[str, str], log: Path) -> type[AsyncKernelManager]:
    """Return a manager whose kernel is this very interpreter, whatever kernels are installed.

    What the kernel's process itself says, beside the output of cells, goes to `log`.
    """
    quiet = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    spec = KernelSpec(**get_kernel_dict(), env={**env, **quiet})

    class OwnSpec(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return spec

    class OwnKernel(AsyncKernelManager):
        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            return OwnSpec(parent=self)

        def _transport_encryption_default(self) -> str:
            return "auto"

        # The base of this class is itself a manager whose methods were made asynchronous.
        async def start_kernel(self, **settings: Any) -> None:  # type: ignore[override]  # noqa: ANN401
            with log.open("w") as stderr:
                await self._async_start_kernel(stderr=stderr, **settings)

    return OwnKernel


@contextmanager
def _workspace(out: Path) -> Iterator[Path]:
    """Yield a locked folder inside `out` that is gone afterwards; sweep those of killed runs."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        for left in out.glob(f".*{_RUNNING}"):
            _sweep(left)
        work = Path(tempfile.mkdtemp(dir=out, prefix=".", suffix=_RUNNING))
        held = _lock(work)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if held is not None:
            held.close()


def _sweep(left: Path) -> None:
    held = _lock(left)
    if held is not None:
        with held:
            shutil.rmtree(left, ignore_errors=True)


def _lock(folder: Path) -> IO[str] | None:
    """Lock a running report's folder; None if the process that made it still runs."""
    file = (folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file

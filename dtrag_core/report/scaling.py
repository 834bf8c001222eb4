"""Measures how a search grows with the corpus: for the command and the notebook."""

import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from dtrag_core.bench.fresh import Order, run_fresh, serve
from dtrag_core.bench.scaling.building import timed_build
from dtrag_core.bench.scaling.plan import ScalingPlan
from dtrag_core.bench.scaling.room import check_room
from dtrag_core.bench.scaling.run import BUILD, run_scaling
from dtrag_core.config import BM25Settings, cache_root
from dtrag_core.datasets.base import Dataset
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.datasets.synthetic import SIZES, SyntheticDataset
from dtrag_core.types import Progress, no_progress
from dtrag_core.workbench import index_directory, prepare

_BUILDER: Final = "dtrag_core.report.scaling"
_COMPILE: Final = "compile"


def measure_scaling(
    plan: ScalingPlan | None = None, progress: Progress = no_progress
) -> dict[str, Any]:
    """Measure every size of the plan and return the result; indexes are kept for the next run.

    Raises MeasuringError, before anything is built, if the sizes do not fit this machine.
    """
    plan = plan or ScalingPlan()
    missing = [
        size
        for size in plan.sizes
        if plan.rebuild or not _directory(SyntheticDataset(size)).is_dir()
    ]
    check_room(plan.sizes, missing, cache_root())
    if missing:
        run_fresh(_BUILDER, _COMPILE, {}, progress, {})
    return run_scaling(plan, _BUILDER, progress)


def _directory(dataset: Dataset) -> Path:
    return index_directory(dataset, dataset.info.embedder, BM25Settings())


def _build(order: Order, progress: Progress) -> dict[str, Any]:
    dataset, rebuild = open_dataset(order["dataset"]), bool(order["rebuild"])
    return timed_build(
        _directory(dataset),
        lambda told: prepare(dataset, rebuild=rebuild, progress=told),
        rebuild,
        progress,
    )


def _compile(order: Order, progress: Progress) -> dict[str, Any]:
    """Build a small index for nothing, so that no timed build compiles kernels."""
    progress("compiling kernels", 0, None)
    with tempfile.TemporaryDirectory(prefix="dtrag-") as folder:
        prepare(SyntheticDataset(SIZES[0]), directory=Path(folder) / "index")
    return {}


if __name__ == "__main__":
    sys.exit(serve({BUILD: _build, _COMPILE: _compile}))

"""A scaling run: every index built, then each measured, every step in a fresh process."""

from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Final

from dtrag_core.bench.environment import HostWatch, capture_environment
from dtrag_core.bench.footprint import evict_files
from dtrag_core.bench.fresh import run_fresh
from dtrag_core.bench.result_file import header
from dtrag_core.bench.scaling.growth import fits, ratios
from dtrag_core.bench.scaling.plan import ScalingPlan, Workload, make_workload
from dtrag_core.bench.scaling.results import KIND, SCHEMA_VERSION
from dtrag_core.bench.worker import ONE_THREAD
from dtrag_core.bench.workload import workload_hash
from dtrag_core.datasets.synthetic import SyntheticDataset
from dtrag_core.types import Progress

BUILD: Final = "build"
_MEASURING: Final = "dtrag_core.bench.scaling.measuring"
_WARM: Final = 3


def run_scaling(plan: ScalingPlan, builder: str, progress: Progress) -> dict[str, Any]:
    """Build what is missing, measure, and return the result (`scaling.schema.json`).

    `builder` is the module whose process builds: its step `build` takes `dataset` and `rebuild` and
    returns what `timed_build` returns. Raises MeasuringError if a step fails.
    """
    workload = make_workload(plan.queries)
    queries = [query for batch in workload.batches for query in batch]
    with HostWatch() as watch:
        builds = [_build(plan, size, builder, progress) for size in plan.sizes]
        sizes = [
            _measure(plan, size, build, workload, progress)
            for size, build in zip(plan.sizes, builds, strict=True)
        ]
        environment = capture_environment()
    info = SyntheticDataset(plan.sizes[0]).info
    return {
        **header(KIND, SCHEMA_VERSION, environment, watch.report.to_json()),
        "settings": {
            **plan.to_json(),
            "warmup": len(workload.warmup),
            "rounds": len(workload.batches) * plan.passes,
            "queries_hash": workload_hash(queries),
            "embedder": info.embedder,
            "caveat": info.caveat,
            "thread_env": dict(ONE_THREAD),
        },
        "sizes": sizes,
        "fits": fits(sizes),
        "ratios": ratios(sizes),
    }


def _named(progress: Progress, size: int) -> Progress:
    def told(stage: str, done: int, total: int | None) -> None:
        progress(f"{size:,} chunks: {stage}", done, total)

    return told


def _build(plan: ScalingPlan, size: int, builder: str, progress: Progress) -> dict[str, Any]:
    order = {"dataset": SyntheticDataset(size).info.spec, "rebuild": plan.rebuild}
    return run_fresh(builder, BUILD, order, _named(progress, size), {})


def _measure(
    plan: ScalingPlan, size: int, build: dict[str, Any], workload: Workload, progress: Progress
) -> dict[str, Any]:
    """Measure latency first, so that every kernel is compiled by the time opening is timed."""
    directory = Path(build.pop("directory"))
    order = {"directory": str(directory), "depths": asdict(plan.depths)}
    told = _named(progress, size)
    asked = {**order, "workload": workload.to_json(), "passes": plan.passes}
    measured = run_fresh(_MEASURING, "latency", asked, told, ONE_THREAD)
    return {
        "chunks": size,
        "build": build,
        "opening": _opening(directory, {**order, "query": workload.warmup[0]}, told),
        **measured,
    }


def _opening(directory: Path, order: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Return the medians of some processes, and those of one that finds no file in memory."""

    def opened() -> dict[str, Any]:
        return run_fresh(_MEASURING, "opening", order, progress, ONE_THREAD)

    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    evicted = evict_files(files)
    cold = opened() if evicted else None
    warm = [opened() for _ in range(_WARM)]
    return {
        **{name: median(each[name] for each in warm) for name in warm[0]},
        "warm": warm,
        "cold": cold,
    }

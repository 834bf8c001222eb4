"""Tables of a scaling run: one row a size, or a curve."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from dtrag_core.bench.arms import LEGACY_ARM, OPTIMIZED_ARM
from dtrag_core.bench.scaling.plan import BM25_ARM, EXACT_ARM, IVF_ARM
from dtrag_core.report.formats import (
    NOTHING,
    bounds,
    count,
    decimals,
    mebibytes,
    percent,
    significant,
)
from dtrag_core.report.table import Table

Result = Mapping[str, Any]

ARM_NAMES: Final[Mapping[str, str]] = {
    BM25_ARM: "BM25 leg",
    EXACT_ARM: "vector leg, int8",
    IVF_ARM: "vector leg, lists",
    LEGACY_ARM: "hybrid, legacy",
    OPTIMIZED_ARM: "hybrid, optimised",
}
_TENFOLD: Final = 10


def run_line(result: Result) -> str:
    """Say in a line what was measured, and on what."""
    settings, machine = result["settings"], result["environment"]
    busy, steal = machine["host"]["busy_share"], machine["host"]["steal_share"]
    return (
        f"generated chunks ({settings['caveat']}), {result['sizes'][0]['latency'][BM25_ARM]['n']:,}"
        f" searches in {settings['rounds']} rounds, top {settings['depths']['topk']}, legs "
        f"{settings['depths']['bm25_topk']} deep, one thread a native pool; "
        f"{machine['cpu_model']}, {machine['cores']} cores, {percent(busy, 0)} % busy, "
        f"{percent(steal, 1)} % stolen"
    )


def building(result: Result) -> Table:
    """Time, speed, memory and size of each build, and how long opening takes."""
    rows, notes = [], []
    for size in _sizes(result):
        record, opening = size["build"]["record"], size["opening"]
        whole = record is not None and not record["resumed"]
        mark = "" if size["build"]["measured_now"] or record is None else " *"
        mark += " +" if record is not None and record["resumed"] else ""
        rows.append(
            (
                count(size["chunks"]),
                NOTHING if record is None else significant(record["seconds"]) + mark,
                count(size["chunks"] / record["seconds"] if whole else None),
                mebibytes(None if record is None else record["peak_bytes"]),
                mebibytes(sum(size["build"]["disk_bytes"].values())),
                count(size["segments"]),
                significant(opening["ready_s"] * 1e3),
                significant(opening["first_answer_s"] * 1e3),
                significant(opening["cold"] and opening["cold"]["ready_s"] * 1e3),
            )
        )
        if record is None:
            notes.append(f"{NOTHING}  the index was there, its build was not timed: --rebuild")
        if "*" in mark:
            notes.append("*  from the earlier run that built it")
        if "+" in mark:
            notes.append("+  went on where an interrupted build stopped: not the time of a whole")
    columns = (
        "chunks|build, s|chunks/s|peak, MiB|disk, MiB|segments|open, ms|first answer, ms|cold, ms"
    )
    return Table.of(columns, "r" * 9, rows, notes)


def latency(result: Result) -> Table:
    """P50 and P95 of each leg alone and of both paths."""
    rows = []
    for size in _sizes(result):
        cells = [count(size["chunks"])]
        for arm in ARM_NAMES:
            of = size["latency"][arm]["percentiles_ms"]
            cells.append(f"{significant(of['p50'])} / {significant(of['p95'])}")
        cells += [_lists(size["vectors"]), significant(size["kernel_ms"])]
        rows.append(cells)
    notes = [
        "P50 / P95, ms. Legs begin with tokens or vector and end with ids; hybrid with the text.",
        "kernel: a fixed piece of work, timed in every round: how fast the machine was.",
    ]
    if any(size["latency"][BM25_ARM]["percentiles_ms"]["p95"] is None for size in _sizes(result)):
        notes.append(f"{NOTHING}  P95 is shown from 1,000 searches on.")
    return Table.of(
        "|".join(("chunks", *ARM_NAMES.values(), "lists", "kernel, ms")),
        "r" * (len(ARM_NAMES) + 3),
        rows,
        notes,
    )


def _lists(point: Mapping[str, Any]) -> str:
    how = "all" if point["structure"] == "exact" else count(point["probes"])
    return f"{how}, recall {decimals(point['recall'])}"


def roofline(result: Result) -> Table:
    """BM25 against reading every posting of the query once at the memory's speed."""
    rows = []
    for size in _sizes(result):
        of = size["roofline"]
        rows.append(
            (
                count(size["chunks"]),
                decimals(of["bandwidth_bytes_s"] / 1e9, 1),
                count(of["postings_a_query"]["mean"]),
                significant(of["p95_ms"]),
                significant(of["measured_p95_ms"]),
                significant(of["p50_ratio"]),
                significant(of["p95_ratio"]),
                " / ".join(significant(of["ratios"][name]) for name in ("p5", "p50", "p95")),
            )
        )
    columns = (
        "chunks|GB/s|postings a query|roofline P95, ms|measured P95, ms|P50, ratio|P95, ratio|"
        "ratios of queries, P5 / P50 / P95"
    )
    notes = (
        "Ratio: measured over roofline, which reads five bytes a posting. Below 1 a search read "
        "less (it skips, and its postings are smaller) or from the processor's cache. Measured is "
        "what each query took in the median of the passes.",
    )
    return Table.of(columns, "r" * 8, rows, notes)


def memory(result: Result) -> Table:
    """Resident bytes of both paths, texts apart."""
    rows = []
    for size in _sizes(result):
        of = size["memory"]
        rows.append(
            (
                count(size["chunks"]),
                *(
                    text
                    for arm in (LEGACY_ARM, OPTIMIZED_ARM)
                    for text in (mebibytes(of[arm]["bytes"]), count(of[arm]["bytes_a_chunk"]))
                ),
                *(
                    mebibytes(of[OPTIMIZED_ARM]["parts"].get(part))
                    for part in ("vectors", "postings", "vocabulary", "filters")
                ),
                decimals(of["bytes_a_posting"], 2),
            )
        )
    columns = (
        "chunks|legacy, MiB|bytes a chunk|optimised, MiB|bytes a chunk|vectors|postings|"
        "vocabulary|filters|bytes a posting"
    )
    notes = ("Parts, MiB, are those of the optimised path; texts apart.",)
    return Table.of(columns, "r" * 10, rows, notes)


def shares(result: Result) -> Table:
    """Where the time of a search goes on either path."""
    rows = []
    for size in _sizes(result):
        for arm in (LEGACY_ARM, OPTIMIZED_ARM):
            of = size["steps"][arm]
            most = max(of["share"], key=of["share"].__getitem__)
            rows.append(
                (count(size["chunks"]), arm, *map(percent, of["share"].values()), f"{most}")
            )
    steps = result["sizes"][0]["steps"][LEGACY_ARM]["share"]
    columns = "|".join(("chunks", "path", *(f"{step}, %" for step in steps), "most"))
    notes = ("Shares of the work of all threads; 'other': no step ran.",)
    return Table.of(columns, "rl" + "r" * len(steps) + "l", rows, notes)


def growth(result: Result) -> Table:
    """Exponent of every curve, with its interval, and what ten times the chunks brought."""
    tenfold = [each for each in result["ratios"] if each["to"] == _TENFOLD * each["from"]]
    steps = sorted({(each["from"], each["to"]) for each in tenfold})
    rows = []
    for name, fit in result["fits"].items():
        over = [_tenfold(tenfold, name, step) for step in steps]
        if fit is not None or any(over):
            rows.append((name, *_fit(fit), *over))
    columns = "|".join(("curve", "exponent", "95 %", *(f"{a:,} to {b:,}" for a, b in steps)))
    notes = (
        "y = factor * chunks ^ exponent, least squares of the logarithms; the interval says how "
        "straight the line is. Three sizes or more are needed.",
    )
    return Table.of(columns, "l" + "r" * (2 + len(steps)), rows, notes)


def _fit(fit: Mapping[str, Any] | None) -> tuple[str, str]:
    if fit is None:
        return NOTHING, NOTHING
    return decimals(fit["exponent"]["value"], 2), bounds(fit["exponent"], 2)


def _tenfold(found: Iterable[Mapping[str, Any]], name: str, step: tuple[int, int]) -> str:
    for each in found:
        for share in ("p50", "p95"):
            if name == f"{each['arm']} {share}, ms" and (each["from"], each["to"]) == step:
                return decimals(each[share], 2)
    return ""


def _sizes(result: Result) -> list[Mapping[str, Any]]:
    return list(result["sizes"])


TABLES: Final[Mapping[str, Callable[[Result], Table]]] = {
    "building and opening": building,
    "latency": latency,
    "BM25 and its roofline": roofline,
    "memory": memory,
    "where the time goes": shares,
    "growth": growth,
}
"""Every table by its title."""

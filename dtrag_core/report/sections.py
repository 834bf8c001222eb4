"""What a report says, section by section: a few plain sentences, then figures and tables."""

from collections.abc import Callable
from shlex import quote
from typing import Final

from dtrag_core.bench.histogram import Histogram
from dtrag_core.report import (
    figures_cost,
    figures_load,
    figures_speed,
    tables_cost,
    tables_run,
    tables_speed,
)
from dtrag_core.report.around_http import around_http
from dtrag_core.report.beyond import beyond
from dtrag_core.report.drawing import Drawing
from dtrag_core.report.formats import (
    TIMES,
    Result,
    bounds,
    count,
    decimals,
    mebibytes,
    milliseconds,
    percent,
    short,
    significant,
    span,
)
from dtrag_core.report.section import Section
from dtrag_core.report.speedup import speedup
from dtrag_core.report.table import Table
from dtrag_core.report.while_written import while_written


def sections(result: Result) -> tuple[Section, ...]:
    """Return every section behind the verdict table."""
    return tuple(make(result) for make in _SECTIONS)


def _latency(result: Result) -> Section:
    work = result["workload"]
    return Section(
        "latency",
        "Latency of the arms",
        (
            "A curve further left is faster; where curves cross, the arms differ in the middle "
            "and in the tail. Both axes of the right-hand figure are logarithmic.",
            f"Measured over {work['rounds']:,} rounds of {work['queries_per_round']:,} queries, "
            "the same queries in every arm, cache off, one search at a time (a closed loop). "
            "The verdict on P95 comes from the open-loop load below, not from here.",
        ),
        (figures_speed.ecdf(result), tables_speed.latency(result)),
    )


def _timeline(result: Result) -> Section:
    return Section(
        "timeline",
        "Where the time goes",
        (
            "Each bar is a step of one real search; steps one below the other ran at the same "
            "time on different threads. The typical search is the one at the median, the other "
            "the one at P95. The table gives the mean cost of each step run one after the other.",
        ),
        (figures_speed.timelines(result), tables_speed.legs(result)),
    )


def _capacity(result: Result) -> Section:
    found = result["capacity"]
    low, high = (f"{short(end)}/s" if end else "none" for end in (found["low"], found["high"]))
    why = f" {found['reason'].capitalize()}." if found["reason"] else ""
    return Section(
        "capacity",
        "How much load it takes",
        (
            f"Highest rate confirmed to hold the service level: {low}; lowest rate confirmed not "
            f"to: {high}; {found['n']:,} requests were sent at the two.{why} Grey is the bracket "
            "between them.",
            "Arrivals are scheduled beforehand (open loop); latency counts from the scheduled "
            "start. Saturated means that the generator alone could not keep up either, which says "
            f"nothing about the service. The search started from {short(found['guess'])}/s, the "
            "guess of a closed loop.",
        ),
        (figures_load.capacity(result), tables_speed.capacity(result)),
    )


def _load(result: Result) -> Section:
    load = result["load"]
    plan, test, stalls = load["plan"], load["self_test"], load["stalls_ns"]
    carried = ", ".join(
        f"{name.upper()} {significant(value)} ms"
        for name, value in load["percentiles_ms"].items()
        if value is not None
    )
    failed = ", ".join(f"{kind} {n:,}" for kind, n in load["errors"].items()) or "none"
    longest = f", the longest {milliseconds(max(stalls))} ms" if stalls else ""
    lag = Histogram.from_json(load["lag"])
    return Section(
        "load",
        "The load at the target rate",
        (
            f"{load['sent']:,} requests at {plan['rate']:g}/s over {plan['seconds']:g} s "
            f"({plan['arrivals']} arrivals) to the service, cache off; the sample carries "
            f"{carried or 'no percentile'}. "
            f"Failed: {failed}. Backlog growth {percent(load['growth'], 2)} % of the arrivals; "
            f"{short(load['achieved'])}/s were answered"
            f"{'; the run was abandoned' if load['abandoned'] else ''}.",
            "Look for segments that differ from the others: a few slow answers in one segment are "
            "a stall, slow answers in all of them are the service. The generator left "
            f"{milliseconds(lag.shown(0.5))} ms late at the median; its self-test at "
            f"{test['rate']:g}/s {'passed' if test['ok'] else 'failed'}. The host stopped this "
            f"process {len(stalls):,} times{longest}.",
        ),
        (figures_load.load(result), tables_speed.segments(result), tables_speed.generator(result)),
    )


def _cache(result: Result) -> Section:
    found = result["cache"]
    settings, rates = found["settings"], found["hit_rate"]
    interval = span(percent(rates["ci_low"], 2), percent(rates["ci_high"], 2))
    return Section(
        "cache",
        "Cache",
        (
            f"From a cold start, {percent(rates['value'], 2)} % of {settings['requests']:,} "
            f"requests were hits ({interval} % over {rates['n']} streams); a cache without limit "
            f"would reach {percent(found['ceiling'], 2)} % on the same queries. The hit rate is a "
            "property of the traffic as much as of the cache: see how it moves with the skew.",
            "Hits and misses are timed apart, because their mixture describes neither.",
        ),
        (
            figures_cost.cache(result),
            tables_cost.cache_latency(result),
            tables_cost.cache_curve(result),
        ),
    )


def _memory(result: Result) -> Section:
    inside, same = result["memory"]["inside"], result["quality"]["optimized_vs_legacy"]
    streaming = result["memory"].get("streaming")
    cost = (
        "The quality paid for it: overlap@10 with exact legacy "
        f"{decimals(same['overlap_at_10'], 4)} over {same['queries']:,} queries."
    )
    peak = (
        f"A large result under a budget of {mebibytes(streaming['budget_bytes'])} MiB "
        f"peaked at {mebibytes(streaming['peak_streamed_bytes'])} MiB when streamed, "
        f"at {mebibytes(streaming['peak_whole_bytes'])} MiB when held whole."
        if streaming
        else "Streaming of a large result was not measured in this run."
    )
    held = inside.get("postings")
    size = inside["optimized"]["postings"]
    each = f"{count(held)} postings take {decimals(size / held)} bytes each." if held else ""
    return Section(
        "memory",
        "Memory",
        (
            f"The vector leg needs {percent(inside['vector_leg']['efficiency'])} % less, the "
            f"whole index without its texts {percent(inside['whole_index']['efficiency'])} % less. "
            f"{each} {cost}",
            "Bytes are counted by the engine, and seen from outside in a process of its own for "
            "each arm after the workload; mapped files are shared, so RSS alone would mislead. "
            f"{peak}",
        ),
        (
            figures_cost.memory(result),
            tables_cost.memory_parts(result),
            tables_cost.memory_outside(result),
        ),
    )


def _vectors(result: Result) -> str:
    """Say how vectors are searched, and what that found at build; nothing in an older result."""
    found = result["engine"].get("vectors")
    if found is None:
        return ""
    if found["structure"] == "exact":
        return "Vectors are searched exactly: looking at lists first saves nothing here."
    return (
        f"Vectors are searched in {count(found['probes'])} of their lists, which at build found "
        f"{decimals(found['recall_at_10'], 4)} of the true ten nearest over "
        f"{found['queries']:,} held-out queries (wanted: {found['floor']:g})."
    )


def _quality(result: Result) -> Section:
    judged, same = result["quality"]["judged"], result["quality"]["optimized_vs_legacy"]
    equal = "equal" if same["equal"] else "not shown to be equal"
    basis = {"ndcg": "nDCG@10 on judged queries", "overlap": "overlap@10 with exact legacy"}
    first = (
        f"Optimised and legacy are {equal} in quality, decided by {basis[same['basis']]}: overlap "
        f"{decimals(same['overlap_at_10'], 4)}, and the interval of the difference must stay above "
        f"{same['margin']:g}. {_vectors(result)}"
    )
    drawing = figures_cost.quality(result)
    if judged is None or drawing is None:
        none = "This dataset has no judged test queries, so that no method can be ranked."
        blocks: tuple[Drawing | Table, ...] = ()
    else:
        none = (
            f"Methods are compared on {judged['queries']:,} judged test queries; the weight was "
            f"chosen on the train queries ({judged['weight']['chosen']:g} for BM25). "
            f"About this dataset: {result['dataset']['caveat']}."
        )
        blocks = (drawing, tables_cost.quality_methods(result))
    differences = tables_cost.quality_differences(result)
    blocks = (*blocks, differences) if differences.rows else blocks
    return Section("quality", "Quality", (first, none), blocks)


def _noise(result: Result) -> Section:
    noise = result["noise_floor"]
    a_a = noise["a_a"]
    return Section(
        "noise",
        "Noise floor",
        (
            f"An arm measured against itself, as if it were two, gave {decimals(a_a['value'], 4)} "
            f"{TIMES} ({bounds(a_a, 4)}, {a_a['n']:,} rounds). Differences of latency below "
            f"{percent(noise['floor'])} % are not called differences in this report.",
        ),
        (),
    )


def _environment(result: Result) -> Section:
    return Section(
        "environment",
        "Where it was measured",
        (
            "Absolute times belong to this machine and this hour; ratios travel better. Steal is "
            "processor time that the host gave to others.",
        ),
        (tables_run.environment(result),),
    )


def command(result: Result) -> str:
    """Return the command line that measures the same again."""
    work = result["workload"]
    options = {
        "dataset": result["dataset"]["spec"],
        "embedder": result["engine"]["embedder"]["spec"],
        "rounds": work["rounds"],
        "rates": f"{work['rate']:g}",
        "seed": work["seed"],
    }
    named = [f"--{name} {quote(str(value))}" for name, value in options.items()]
    lengths = ("load_seconds", "capacity_seconds", "ingest_seconds")
    times = [f"-p {name}={work[name]:.1f}" for name in lengths if name in work]
    return " ".join(["dtrag report", *named, *times])


def _reproduce(result: Result) -> Section:
    return Section(
        "reproduce",
        "How to reproduce",
        (
            "The command below measures the same again; two runs compare only if data, workload "
            "and machine agree (dtrag compare says what differs). Equal hashes mean equal data.",
        ),
        (tables_run.identity(result),),
    )


_SECTIONS: Final[tuple[Callable[[Result], Section], ...]] = (
    _latency,
    _timeline,
    speedup,
    _capacity,
    _load,
    around_http,
    beyond,
    _cache,
    while_written,
    _memory,
    _quality,
    _noise,
    _environment,
    _reproduce,
)

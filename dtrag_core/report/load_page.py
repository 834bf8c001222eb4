"""The report of one load on the service: its sections, and the page."""

from pathlib import Path
from typing import Final

from markupsafe import Markup

from dtrag_core.report import figures_service, tables_run, tables_service
from dtrag_core.report.formats import NOTHING, Result, count, short
from dtrag_core.report.html import ICONS, drawings, write_page
from dtrag_core.report.rendering import rendered, text_of
from dtrag_core.report.section import Section
from dtrag_core.report.verdicts import summary, verdict

_OPEN: Final = (
    "Requests leave on a schedule made beforehand, whether or not answers come back; latency "
    "counts from the moment a request was due."
)
_CLOSED: Final = (
    "Users wait for an answer before they ask again (a closed loop), so that a stall hides the "
    "requests that should have come meanwhile: nothing here is a verdict."
)


def load_sections(result: Result) -> tuple[Section, ...]:
    """Return what a load has to say."""
    return (
        *_load(result),
        *_steps(result),
        *_cost(result),
        *_usage(result),
        Section(
            "generator",
            "The generator",
            ("A generator that is late or out of breath makes a run inconclusive.",),
            (tables_service.generator(result),),
        ),
    )


def write_load_report(result: Result, folder: Path) -> Path:
    """Write `folder/report.html` and the figures as files; return the page's path."""
    parts = (
        *load_sections(result),
        Section("environment", "The machine", (), (tables_run.environment(result),)),
    )
    page = rendered(
        "load.html.j2",
        result=result,
        summary=load_summary(result),
        verdicts=[verdict(target) for target in result["targets"]],
        icons=ICONS,
        sections=parts,
        command="",
        nothing=NOTHING,
        css=Markup(text_of("report.css")),
    )
    return write_page(folder, page, drawings(parts))


def load_summary(result: Result) -> str:
    """Return one sentence: the verdicts, or what rate held."""
    if result["steps"] is not None:
        held, broke = result["steps"]["held"], result["steps"]["broke"]
        if broke is None:
            return f"The service level held at every rate tried, up to {short(held)}/s."
        first = "at no rate tried" if held is None else f"up to {short(held)}/s"
        return f"The service level held {first}, and broke at {short(broke)}/s."
    return summary(result)


def _load(result: Result) -> list[Section]:
    work = result["workload"]
    sent = sum(stream["sent"] for stream in result["streams"])
    text = f"{count(sent)} requests over {short(work['seconds'])} s, up to {_peak(result)}/s."
    loop = _OPEN if result["generator"]["open_loop"] else _CLOSED
    failing = any(stream["errors"] for stream in result["streams"])
    return [
        Section(
            "load",
            "What came and what went",
            (text, loop),
            (
                figures_service.arrivals(result),
                tables_service.streams(result),
                *((tables_service.failures(result),) if failing else ()),
            ),
        ),
        Section(
            "latency",
            "How long it took",
            (
                "A percentile is shown where the segment carries it: P95 from 1,000 samples. "
                "Searches only; refusals are apart.",
            ),
            (figures_service.latencies(result), figures_service.distribution(result)),
        ),
    ]


def _peak(result: Result) -> str:
    return short(max(rate for _, rate in result["workload"]["shape"]))


def _steps(result: Result) -> list[Section]:
    if result["steps"] is None:
        return []
    return [Section("steps", "Steps", (load_summary(result),), (figures_service.steps(result),))]


def _cost(result: Result) -> list[Section]:
    if result["http_cost"] is None:
        return []
    text = (
        "An endpoint that checks the same body and finds nothing, in a process of its own on the "
        "same core: what HTTP, validation and JSON cost by themselves. Saturated throughput comes "
        "from a closed loop, latencies from an open one."
    )
    return [Section("http", "The cost of HTTP", (text,), (tables_service.http_cost(result),))]


def _usage(result: Result) -> list[Section]:
    if result["service"]["usage"] is None:
        return []
    text = "All processes of the service together; pages they share count for each."
    return [Section("usage", "What it held", (text,), (figures_service.usage(result),))]

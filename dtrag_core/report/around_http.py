"""The section on the service round the searches: what HTTP costs, and how they do without it."""

from dtrag_core.report import tables_service
from dtrag_core.report.formats import QUANTITIES, Result, short, span, target_of
from dtrag_core.report.section import Section
from dtrag_core.report.table import Table


def around_http(result: Result) -> Section:
    """Return the section."""
    service = result["service"]
    where = "a core of its own" if service["cores"]["apart"] else "the cores it shares with it"
    text = (
        f"The verdicts above on latency, throughput, cache and errors are those of the service: "
        f"{service['workers']:,} process, loaded over HTTP from {where}. The second column is "
        "the same without it, searches called in process. What the two differ by is what a "
        "service costs, or brings: it computes searches that arrive together in one go.",
        f"{_beside_writer(result)} An endpoint that parses and checks the same requests and finds "
        "nothing shows what HTTP alone allows on this machine.",
    )
    return Section("service", "Service and process", text, (beside(result), http_cost(result)))


def beside(result: Result) -> Table:
    """Return the targets measured at the service, and in process beside."""
    inside = {target["metric"]: target for target in result["in_process"]["targets"]}
    rows = []
    for metric, own in inside.items():
        quantity, judged = QUANTITIES[metric], target_of(result, metric)
        shown = [
            (
                quantity.with_unit(each["value"]),
                span(quantity.text(each["ci_low"]), quantity.text(each["ci_high"])),
            )
            for each in (judged, own)
        ]
        rows.append((quantity.name, *shown[0], *shown[1]))
    return Table.of("figure|service|95 % interval|in process|95 % interval", "lrrrr", rows)


def http_cost(result: Result) -> Table:
    """Return the service beside an endpoint that finds nothing."""
    return tables_service.http_cost(result["service"])


def _beside_writer(result: Result) -> str:
    rest, during = result["capacity"], result["service"]["capacity_beside_writer"]
    if during is None:
        return "Capacity beside a writer was not measured."
    held = f"{short(during['low'])}/s" if during["low"] else "no rate that was tried"
    alone = f"{short(rest['low'])}/s" if rest["low"] else "no rate"
    return (
        f"While another process adds chunks to the index the service holds its level at {held}, "
        f"at rest at {alone}."
    )

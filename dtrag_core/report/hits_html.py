"""Two searches side by side as HTML: hits, scores of both legs, and when each step ran."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from dtrag_core.report.drawing import STEP_COLORS
from dtrag_core.report.formats import decimals, significant
from dtrag_core.report.rendering import rendered
from dtrag_core.types import Hit, SearchResult, Span

SNIPPET: Final = 220
_OTHER_STEP: Final = "#56b4e9"


@dataclass(frozen=True, slots=True)
class Bar:
    """One step on the timeline: `lane` by thread from 0; `left` and `width` in % of the scale."""

    name: str
    lane: int
    left: float
    width: float
    color: str
    cost: str


@dataclass(frozen=True, slots=True)
class Side:
    """One search, ready to print."""

    title: str
    how: str
    bars: tuple[Bar, ...]
    lanes: int
    hits: tuple[Hit, ...]
    only_here: frozenset[str]


def search_html(legacy: SearchResult, optimized: SearchResult) -> str:
    """Return both results side by side, everything escaped, both timelines on one scale."""
    scale = max(_length(legacy.timings), _length(optimized.timings), 1)
    first, second = ({hit.id for hit in result.hits} for result in (legacy, optimized))
    sides = (
        _side("Legacy", legacy, scale, frozenset(first - second)),
        _side("Optimised", optimized, scale, frozenset(second - first)),
    )
    same = not first ^ second
    return rendered("search.html.j2", sides=sides, same=same, score=decimals, snippet=SNIPPET)


def message_html(title: str, text: str) -> str:
    """Return a friendly note in place of results."""
    note = Markup(
        '<div style="padding:12px 14px;border-left:4px solid #b93a22"><b>{}</b><br>{}</div>'
    )
    return str(note.format(title, text))


def _side(title: str, result: SearchResult, scale: int, only_here: frozenset[str]) -> Side:
    legs = "legs " + result.plan.replace("_", " ")
    on = [name for name in result.switches.__dataclass_fields__ if getattr(result.switches, name)]
    how = f"{significant(_length(result.timings) / 1e6)} ms, {legs}, switches on: "
    bars, lanes = _bars(result.timings, scale)
    return Side(title, how + (", ".join(on) or "none"), bars, lanes, result.hits, only_here)


def _length(spans: Sequence[Span]) -> int:
    """Return ns from the first start to the last end."""
    if not spans:
        return 0
    return max(span.end_ns for span in spans) - min(span.start_ns for span in spans)


def _bars(spans: Sequence[Span], scale: int) -> tuple[tuple[Bar, ...], int]:
    """Return the bars and the number of lanes."""
    ordered = sorted(spans, key=lambda span: span.start_ns)
    lanes = {thread: lane for lane, thread in enumerate(dict.fromkeys(s.thread for s in ordered))}
    start = ordered[0].start_ns if ordered else 0
    bars = (
        Bar(
            span.name,
            lanes[span.thread],
            100 * (span.start_ns - start) / scale,
            100 * (span.end_ns - span.start_ns) / scale,
            STEP_COLORS.get(span.name, _OTHER_STEP),
            f"{significant((span.end_ns - span.start_ns) / 1e3)} µs",
        )
        for span in ordered
    )
    return tuple(bars), max(len(lanes), 1)

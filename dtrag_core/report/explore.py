"""The lab: a search box with both modes side by side, for a notebook."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import ipywidgets as widgets

from dtrag_core.datasets.taxonomy import Taxonomy
from dtrag_core.errors import DtragError
from dtrag_core.report.hits_html import message_html, search_html
from dtrag_core.search.dao import SearchDAO
from dtrag_core.types import Filters, Fusion, Mode, SearchParams, SearchResult

_ANY: Final[tuple[str, ...]] = ()
_MAX_PATHS: Final = 400


class Facets(Protocol):
    """What a corpus can be narrowed by."""

    @property
    def taxonomy(self) -> Taxonomy:
        """The tree of paths with its counts."""
        ...

    @property
    def doc_types(self) -> tuple[str, ...]:
        """The document types there are."""
        ...


@runtime_checkable
class Faceted(Protocol):
    """An engine that knows its paths and types; the lab offers no filters over any other."""

    filters: Facets


@dataclass(frozen=True, slots=True)
class LabRequest:
    """What the widgets say."""

    query: str
    params: SearchParams


async def search_both(dao: SearchDAO, request: LabRequest) -> tuple[SearchResult, SearchResult]:
    """Search on the legacy and on the optimised path, each twice; return the second of each.

    The first run of a query pays for reading its texts from disk, whichever path it takes.
    """

    async def search(mode: Mode) -> SearchResult:
        params = request.params
        return await dao.hybrid_search(
            request.query,
            params.filters,
            params.topk,
            params.bm25_topk,
            params.vector_topk,
            params.rerank_candidates,
            mode=mode,
            fusion=params.fusion,
        )

    await search("legacy"), await search("optimized")
    return await search("legacy"), await search("optimized")


async def answer(dao: SearchDAO, request: LabRequest) -> str:
    """Return the HTML that answers a request: two results, or what to do about an error."""
    if not request.query.strip():
        return message_html("Nothing to search for yet", "Type a few words and press Enter.")
    try:
        legacy, optimized = await search_both(dao, request)
    except DtragError as error:
        return message_html("That did not work", str(error))
    return search_html(legacy, optimized)


def path_options(taxonomy: Taxonomy, depth: int = 3) -> list[tuple[str, tuple[str, ...]]]:
    """Return the choices of a taxonomy menu, indented and with counts: (label, path).

    Goes as deep as `depth` levels while the menu stays readable, and never deeper.
    """
    while depth > 1 and sum(1 for _ in _below(taxonomy, (), depth)) > _MAX_PATHS:
        depth -= 1
    rows = [
        (
            "\N{NO-BREAK SPACE}" * 4 * (len(path) - 1) + f"{path[-1]} ({taxonomy.count(path):,})",
            path,
        )
        for path in _below(taxonomy, (), depth)
    ]
    return [(f"everything ({taxonomy.count():,})", _ANY), *rows[:_MAX_PATHS]]


def _below(taxonomy: Taxonomy, path: tuple[str, ...], depth: int) -> Sequence[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for child in taxonomy.children(path) if depth else ():
        found += [child, *_below(taxonomy, child, depth - 1)]
    return found


class SearchLab:
    """Widgets around one DAO. `show()` gives what a notebook displays.

    Searches run on the notebook's own event loop, one after the other; moving a slider while one
    runs asks again with the newest settings.
    """

    def __init__(self, dao: SearchDAO, query: str = "") -> None:
        self._dao = dao
        default = dao.engine.info.fusion
        facets = dao.engine.filters if isinstance(dao.engine, Faceted) else None
        paths = path_options(facets.taxonomy) if facets else [("everything", _ANY)]
        types = [("any", ""), *((name, name) for name in facets.doc_types)] if facets else []
        most = min(dao.engine.info.chunks, 50)
        wide = {"description_width": "110px"}
        self.query = widgets.Text(
            query,
            description="Search for",
            placeholder="a few words, then Enter",
            continuous_update=False,
            layout={"width": "640px"},
            style=wide,
        )
        self.path = widgets.Dropdown(options=paths, description="Taxonomy", style=wide)
        self.doc_type = widgets.Dropdown(
            options=types or [("any", "")], description="Type", style=wide
        )
        self.method = widgets.Dropdown(
            options=[("weighted sum", "weighted"), ("reciprocal ranks (RRF)", "rrf")],
            value=default.method,
            description="Fusion",
            style=wide,
        )
        self.weight = _slider(
            widgets.FloatSlider, "Weight of BM25", default.bm25_weight, 0.0, 1.0, 0.05
        )
        self.topk = _slider(widgets.IntSlider, "Results", min(5, most), 1, most, 1)
        self.bm25_topk = _slider(widgets.IntSlider, "BM25 depth", 12, 1, 200, 1)
        self.vector_topk = _slider(widgets.IntSlider, "Vector depth", 12, 1, 200, 1)
        self.candidates = _slider(widgets.IntSlider, "Rescored", 50, 1, 400, 1)
        self.output = widgets.HTML()
        self._task: asyncio.Task[None] | None = None
        self._again = False
        for control in self._controls():
            control.observe(self._changed, names="value")

    def request(self) -> LabRequest:
        """Return what the widgets say now."""
        filters = Filters(
            (self.path.value,) if self.path.value else None,
            (self.doc_type.value,) if self.doc_type.value else None,
        )
        fusion = Fusion(self.method.value, self.weight.value)
        params = SearchParams(
            self.topk.value,
            self.bm25_topk.value,
            self.vector_topk.value,
            self.candidates.value,
            filters,
            fusion,
        )
        return LabRequest(self.query.value, params)

    async def search(self) -> None:
        """Search with the current settings and show what was found."""
        self.output.value = await answer(self._dao, self.request())

    def show(self) -> widgets.VBox:
        """Return the lab as one widget, and answer what the search box holds."""
        self._changed(None)
        menus = widgets.HBox([widgets.VBox([self.path, self.doc_type, self.method, self.weight])])
        depths = widgets.VBox([self.topk, self.bm25_topk, self.vector_topk, self.candidates])
        return widgets.VBox([self.query, widgets.HBox([menus, depths]), self.output])

    async def settled(self) -> None:
        """Wait until every search asked for so far has been shown."""
        if self._task is not None:
            await self._task

    def _controls(self) -> tuple[Any, ...]:
        menus = (self.query, self.path, self.doc_type, self.method, self.weight)
        return (*menus, self.topk, self.bm25_topk, self.vector_topk, self.candidates)

    def _changed(self, _: object) -> None:
        self.weight.disabled = self.method.value == "rrf"
        if self._task is not None and not self._task.done():
            self._again = True
            return
        self._task = asyncio.get_running_loop().create_task(self._search_until_current())

    async def _search_until_current(self) -> None:
        self._again = True
        while self._again:
            self._again = False
            await self.search()


def _slider(
    kind: type[widgets.IntSlider] | type[widgets.FloatSlider],
    name: str,
    value: float,
    low: float,
    high: float,
    step: float,
) -> Any:  # noqa: ANN401 (ipywidgets is untyped)
    return kind(
        value=value,
        min=low,
        max=high,
        step=step,
        description=name,
        continuous_update=False,
        style={"description_width": "110px"},
    )

"""Bodies and answers of the service, with their bounds: what OpenAPI says is what is checked."""

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dtrag_core.search.request import MAX_QUERY_CHARACTERS
from dtrag_core.types import Chunk, Mode

MAX_TOPK: Final = 1_000
MAX_STREAMED: Final = 100_000
MAX_DEPTH: Final = 100_000
MAX_FILTER_VALUES: Final = 100
MAX_QUERIES: Final = 1_000
MAX_BATCH_TOPK: Final = 100
MAX_SHOWN: Final = 100
MAX_CHUNKS: Final = 1_000

# A query needs something other than white space, a path has no empty part.
Query: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=MAX_QUERY_CHARACTERS, pattern=r"[^\s\x1c-\x1f]")
]
PathText: TypeAlias = Annotated[str, Field(max_length=1_000, pattern=r"^[^/]+(/[^/]+)*$")]
Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=1_000)]


def _whole(value: object) -> object:
    """Return 3 for 3.0, which JSON Schema counts among the integers."""
    return int(value) if type(value) is float and value.is_integer() else value


WHOLE: Final = BeforeValidator(_whole)


class _Strict(BaseModel):
    """Refuses unknown fields, and values of another type than asked for."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FieldError(BaseModel):
    """What is wrong with one part of a body."""

    at: list[str | int]
    problem: str


class QueryProblem(BaseModel):
    """Why a query of a job has no answer (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    leg: Annotated[
        str | None, Field(description="embed, bm25 or vector: what failed or is left alone")
    ] = None


class ProblemBody(QueryProblem):
    """Why a request was not answered (RFC 9457)."""

    instance: str
    request_id: str
    errors: list[FieldError] | None = None


class FiltersBody(_Strict):
    """Restricts a search: a path matches its whole subtree; both given means both hold."""

    canonical_in: Annotated[
        list[PathText] | None, Field(min_length=1, max_length=MAX_FILTER_VALUES)
    ] = None
    doc_type: Annotated[list[Name] | None, Field(min_length=1, max_length=MAX_FILTER_VALUES)] = None


class SearchBody(_Strict):
    """A hybrid search; the corpus cuts `topk` to its size."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "invert a matrix"},
                {
                    "query": "read a table",
                    "filters": {"canonical_in": ["pandas/io"], "doc_type": ["function"]},
                    "topk": 10,
                },
            ]
        }
    )

    query: Query
    filters: FiltersBody | None = None
    topk: Annotated[int, Field(ge=1, le=MAX_TOPK), WHOLE] = 5
    bm25_topk: Annotated[int, Field(ge=1, le=MAX_DEPTH), WHOLE] = 12
    vector_topk: Annotated[int, Field(ge=1, le=MAX_DEPTH), WHOLE] = 12
    rerank_candidates: Annotated[int, Field(ge=1, le=MAX_DEPTH), WHOLE] = 50
    mode: Mode = "optimized"
    allow_degraded: Annotated[
        bool, Field(description="take an answer of one leg, marked as degraded, if the other fails")
    ] = False


class StreamBody(SearchBody):
    """A search whose hits are streamed, so that there may be many; always optimised."""

    topk: Annotated[int, Field(ge=1, le=MAX_STREAMED), WHOLE] = MAX_TOPK
    mode: Literal["optimized"] = "optimized"


class HitAnswer(BaseModel):
    """One hit, with its fused score and those of both legs; null is that of a leg that failed."""

    rank: int
    id: str
    score: float
    bm25: float | None
    cosine: float | None
    title: str
    text: str
    path: list[str]
    doc_type: str


class SearchAnswer(BaseModel):
    """What a search found, and how it ran."""

    hits: list[HitAnswer]
    mode: Mode
    degraded: bool
    from_cache: bool
    plan: str
    took_ms: float


class StreamEnd(BaseModel):
    """The last line of a stream; one that ends without it is broken. `problem`: why it failed."""

    end: Literal[True]
    hits: int
    degraded: bool | None = None
    problem: ProblemBody | None = None


class BatchQuery(SearchBody):
    """A search of a job."""

    topk: Annotated[int, Field(ge=1, le=MAX_BATCH_TOPK), WHOLE] = 5


class BatchBody(_Strict):
    """Searches to be answered later; the other fields are defaults for queries given as text."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"queries": ["invert a matrix", {"query": "read a table", "topk": 3}], "topk": 10}
            ]
        }
    )

    queries: Annotated[list[Query | BatchQuery], Field(min_length=1, max_length=MAX_QUERIES)]
    priority: Annotated[int, Field(ge=-10, le=10, description="higher goes first"), WHOLE] = 0
    filters: FiltersBody | None = None
    topk: Annotated[int, Field(ge=1, le=MAX_BATCH_TOPK), WHOLE] = 5
    bm25_topk: Annotated[int, Field(ge=1, le=MAX_DEPTH), WHOLE] = 12
    vector_topk: Annotated[int, Field(ge=1, le=MAX_DEPTH), WHOLE] = 12
    rerank_candidates: Annotated[int, Field(ge=1, le=MAX_DEPTH), WHOLE] = 50
    mode: Mode = "optimized"
    allow_degraded: bool = False

    def searches(self) -> list[BatchQuery]:
        """Return every query as a search with the defaults filled in."""
        defaults = self.model_dump(exclude={"queries", "priority"}, exclude_unset=True)
        return [
            BatchQuery.model_validate(
                {**defaults, "query": query}
                if isinstance(query, str)
                else {**defaults, **query.model_dump(exclude_unset=True)}
            )
            for query in self.queries
        ]


class JobAccepted(BaseModel):
    """A batch job that will be answered."""

    job_id: str
    status: str
    total: int
    status_url: str


class QueryResult(SearchAnswer):
    """The answer to one query of a job."""

    index: int


class QueryError(BaseModel):
    """Why one query of a job has no answer."""

    index: int
    problem: QueryProblem


JobState: TypeAlias = Literal["queued", "running", "completed", "failed", "cancelled", "expired"]


class JobAnswer(BaseModel):
    """How far a job is; `results` and `errors` are those between `offset` and `offset + limit`."""

    job_id: str
    status: JobState
    completed: int
    total: int
    results: list[QueryResult]
    errors: list[QueryError]
    expires_at: float | None


class ChunkBody(_Strict):
    """A chunk to add, in the place of the one with its id if there is one."""

    id: Name
    title: Annotated[str, Field(max_length=10_000)] = ""
    text: Annotated[str, Field(max_length=1_000_000)]
    path: PathText | Annotated[list[Name], Field(max_length=100)] = []
    doc_type: Annotated[str, Field(max_length=1_000)] = ""
    attributes: Annotated[dict[str, str], Field(max_length=100)] = {}

    def chunk(self) -> Chunk:
        """Return it as the index takes it."""
        parts = self.path.split("/") if isinstance(self.path, str) else self.path
        return Chunk(
            self.id, self.title, self.text, tuple(parts), self.doc_type, dict(self.attributes)
        )


class ChunksBody(_Strict):
    """Chunks to add at one stroke."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"chunks": [{"id": "n1", "title": "Wren", "text": "sings", "path": "birds/wren"}]}
            ]
        }
    )

    chunks: Annotated[list[ChunkBody], Field(min_length=1, max_length=MAX_CHUNKS)]


class DeleteBody(_Strict):
    """Ids of chunks to delete; those that are not there are passed over."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ids": ["n1", "n2"]}]})

    ids: Annotated[list[Name], Field(min_length=1, max_length=MAX_CHUNKS)]


class WrittenAnswer(BaseModel):
    """A change that survives a kill: how many chunks it touched, and the generation it made."""

    changed: int
    generation: int
    chunks: int


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"]
    version: str


class Ready(BaseModel):
    """Whether searches are answered, from which generation, and the state of each breaker."""

    ready: bool
    generation: int
    chunks: int
    outdated: str | None
    breakers: dict[str, str]


class Queries(BaseModel):
    """Queries of the dataset, for load tests."""

    queries: list[str]

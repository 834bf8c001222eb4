"""Which queries are timed, which judged, and which the engines are tuned on."""

from collections.abc import Sequence
from typing import Final

from dtrag_core.bench.peers.base import PeerQuery
from dtrag_core.bench.peers.corpus import Prepared
from dtrag_core.bench.peers.plan import PeerPlan
from dtrag_core.bench.peers.quality import Asked
from dtrag_core.bench.workload import distinct_queries, round_queries
from dtrag_core.datasets.base import Dataset
from dtrag_core.errors import MeasuringError

_TUNING_QUERIES: Final = 200


def timed_queries(dataset: Dataset, prepared: Prepared, plan: PeerPlan) -> list[PeerQuery]:
    """Return warm-up and rounds in one list; a query without a token is answered by no engine."""
    wanted = plan.warmup + plan.rounds * plan.queries
    texts = distinct_queries(dataset, wanted + wanted // 10, plan.seed, wanted)
    found = [query for query in map(prepared.query, texts) if query.terms]
    if len(found) < wanted:
        raise MeasuringError(
            f"{dataset.info.spec} yields {len(found):,} queries with a token, {wanted:,} are "
            "needed; ask for fewer rounds or queries"
        )
    order = round_queries([query.text for query in found], 1, wanted, 0, plan.seed).batches[0]
    by_text = {query.text: query for query in found}
    return [by_text[text] for text in order]


def judged_queries(
    dataset: Dataset, prepared: Prepared, queries: Sequence[PeerQuery], plan: PeerPlan
) -> list[Asked]:
    """Return the queries of the quality: judged ones, evenly spaced, or else timed ones."""
    test = dataset.queries("test")
    few = min(len(test), plan.judged)
    judged = [test[number * len(test) // few] for number in range(few)]
    asked = [Asked(prepared.query(query.text), query.relevant) for query in judged]
    found = [one for one in asked if one.query.terms]
    return found or [Asked(query, {}) for query in queries[: plan.judged]]


def tuning_queries(dataset: Dataset, prepared: Prepared) -> list[PeerQuery]:
    """Return queries to choose efforts on; quality is measured on others."""
    train = dataset.queries("train")
    few = train[:: max(1, len(train) // _TUNING_QUERIES)]
    return [prepared.query(query.text) for query in few]

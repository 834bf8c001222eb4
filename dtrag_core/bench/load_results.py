"""`result.json` of a load on the service, checked both ways against `load.schema.json`."""

from collections.abc import Sequence
from typing import Any, Final

from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.load_result import LoadResult, Segment
from dtrag_core.bench.mixes import Stream
from dtrag_core.bench.result_file import ResultFile

KIND: Final = "load"
SCHEMA_VERSION: Final = 1

_FILE: Final = ResultFile(KIND, SCHEMA_VERSION, "dtrag_core.bench", name="result.json")

load_schema = _FILE.schema
write_load_result = _FILE.write
read_load_result = _FILE.read


def stream_json(
    stream: Stream,
    segments: Sequence[Segment],
    *,
    plan: LoadPlan | None,
    result: LoadResult | None = None,
    cached: int | None = None,
) -> dict[str, Any]:
    """Return one stream of a result. `plan` is None of a closed loop, which follows none."""
    whole = Segment.merge(segments)
    return {
        "name": stream.name,
        "path": stream.path,
        "share": stream.share,
        "plan": plan and plan.to_json(),
        "segments": [segment.to_json() for segment in segments],
        "sent": whole.sent,
        "errors": dict(whole.errors),
        "refused": {kind: h.percentiles_ms() for kind, h in whole.refused.items()},
        "percentiles_ms": whole.histogram.percentiles_ms(whole.failed),
        "admitted_percentiles_ms": whole.histogram.percentiles_ms(),
        "growth": result and result.growth,
        "achieved": result and result.achieved,
        "abandoned": bool(result and result.abandoned),
        "from_cache": cached,
    }

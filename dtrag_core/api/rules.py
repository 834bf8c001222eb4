"""Which requests are admitted how."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dtrag_core.api.settings import BodyLimits


@dataclass(frozen=True, slots=True)
class Rule:
    """How one route is admitted.

    `route` is its label in metrics; `resource` what it takes up (None: it is never shed), `bulk`
    whether its body may be large, `keyed` whether it needs a key where there are any, `writes`
    whether a read-only key is refused.
    """

    route: str
    resource: str | None = None
    bulk: bool = False
    keyed: bool = True
    writes: bool = False

    def most_bytes(self, limits: BodyLimits) -> int:
        """Return how large its body may be."""
        return limits.bulk if self.bulk else limits.most


RULES: Final[Mapping[tuple[str, str], Rule]] = {
    ("POST", "/search"): Rule("/search", "search"),
    ("POST", "/search/stream"): Rule("/search/stream", "stream"),
    ("POST", "/api/v1/batch/search"): Rule("/api/v1/batch/search", "jobs", bulk=True),
    ("POST", "/chunks"): Rule("/chunks", "write", bulk=True, writes=True),
    ("POST", "/chunks/delete"): Rule("/chunks/delete", "write", bulk=True, writes=True),
    ("GET", "/health"): Rule("/health", keyed=False),
    ("GET", "/ready"): Rule("/ready", keyed=False),
    ("GET", "/metrics"): Rule("/metrics"),
    ("GET", "/queries"): Rule("/queries"),
}
_STATUS: Final = Rule("/api/v1/batch")
_OTHER: Final = Rule("other")


def rule_of(method: str, path: str) -> Rule:
    """Return the rule of a request; of any other there is one that takes nothing up."""
    rule = RULES.get((method, path))
    if rule is not None:
        return rule
    return _STATUS if path.startswith("/api/v1/batch/") else _OTHER

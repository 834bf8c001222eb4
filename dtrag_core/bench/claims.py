"""What the harness claims of itself, and whether it held."""

from dataclasses import asdict, dataclass
from typing import Any

from dtrag_core.targets import Direction


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim in words, what was measured, and the bound it must keep in `direction`."""

    claim: str
    measured: float
    bound: float
    direction: Direction

    @property
    def ok(self) -> bool:
        """Whether the claim holds; a measurement that is not a number does not."""
        if self.direction == "at_most":
            return self.measured <= self.bound
        return self.measured >= self.bound

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names, and `ok`."""
        return {**asdict(self), "ok": self.ok}


@dataclass(frozen=True, slots=True)
class SelfcheckReport:
    """All claims, and how long it took to check them, s."""

    lines: tuple[Claim, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every claim holds."""
        return all(line.ok for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """Return `lines`, `seconds` and `ok`."""
        return {
            "lines": [line.to_json() for line in self.lines],
            "seconds": self.seconds,
            "ok": self.ok,
        }

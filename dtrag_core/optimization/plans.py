"""The ways a hybrid search can be laid out over the cores."""

from enum import Enum


class Plan(Enum):
    """How the legs are run; the value is its name in results."""

    IN_TURN = "in_turn"
    OVERLAPPED = "overlapped"
    SHARDED = "sharded"
    SHARDED_OVERLAPPED = "sharded_overlapped"

    @property
    def overlaps(self) -> bool:
        """Whether the two legs run at the same time."""
        return self in (Plan.OVERLAPPED, Plan.SHARDED_OVERLAPPED)

    @property
    def shards(self) -> bool:
        """Whether each leg is split over the cores."""
        return self in (Plan.SHARDED, Plan.SHARDED_OVERLAPPED)


def plans_for(*, overlap: bool, shards: bool) -> tuple[Plan, ...]:
    """Return the plans that may be chosen among, in turn first.

    Where both are allowed, legs are not split one after the other: overlapped, their parts leave
    no core idle in between.
    """
    if overlap and shards:
        return (Plan.IN_TURN, Plan.OVERLAPPED, Plan.SHARDED_OVERLAPPED)
    if overlap:
        return (Plan.IN_TURN, Plan.OVERLAPPED)
    return (Plan.IN_TURN, Plan.SHARDED) if shards else (Plan.IN_TURN,)

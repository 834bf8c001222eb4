import pytest

from dtrag_core.bench.selfcheck import check
from dtrag_core.bench.virtual import run_virtual

pytestmark = pytest.mark.usefixtures("few_to_collect")


def test_every_claim_of_the_selfcheck_holds_on_virtual_time() -> None:
    told: list[tuple[int, int | None]] = []

    def progress(stage: str, done: int, total: int | None) -> None:
        assert stage
        told.append((done, total))

    lines = run_virtual(lambda clock: check(clock, progress))
    assert len(lines) == 9
    assert [line.claim for line in lines if not line.ok] == []
    assert len(told) > 120
    done = [each for each, _ in told]
    assert done == sorted(done)
    assert told[-1] == (told[-1][1],) * 2

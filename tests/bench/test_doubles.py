from itertools import islice

import numpy as np
import pytest

from dtrag_core.bench.doubles import lognormal_ns


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_delays_have_the_asked_distribution_and_memory(rho: float) -> None:
    logs = np.log(np.array(list(islice(lognormal_ns(1e6, 0.5, seed=1, rho=rho), 60_000)))) - np.log(
        1e6
    )
    assert np.median(logs) == pytest.approx(0, abs=0.05)
    assert logs.std() == pytest.approx(0.5, rel=0.05)
    assert np.corrcoef(logs[1:], logs[:-1])[0, 1] == pytest.approx(rho, abs=0.02)


def test_the_same_seed_gives_the_same_delays() -> None:
    first, again, other = (list(islice(lognormal_ns(1e6, 0.5, seed), 5)) for seed in (1, 1, 2))
    assert first == again != other

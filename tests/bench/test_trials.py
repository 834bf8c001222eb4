"""The harness against known truths: seeded, so that they come out the same every time.

What would be noticed, should the harness change: 30 of 30 verdicts on loads come out right in 4 %
of all cases if one verdict in ten is wrong (0.9 ** 30), and at most 39 of 600 equal doubles are
called different in 0.2 % if one in ten is. `dtrag selfcheck` runs 1,000 of each.
"""

from functools import partial

import pytest

from dtrag_core.bench.claims import Claim
from dtrag_core.bench.trials import (
    RHO,
    called_different,
    found_slower,
    p95_error,
    passes,
    run_trials,
    seeds,
    stall_claims,
    stalled,
)

pytestmark = pytest.mark.usefixtures("few_to_collect")


def test_reported_p95_is_that_of_the_injected_delays() -> None:
    assert max(map(p95_error, seeds(1, 10))) <= 0.002


def test_equal_doubles_are_seldom_called_different() -> None:
    alarms = sum(map(called_different, seeds(2, 600)))
    assert 12 <= alarms <= 39


def test_a_double_20_percent_slower_is_found() -> None:
    assert sum(map(found_slower, seeds(3, 300))) >= 285


def test_half_the_target_passes_under_autocorrelated_load() -> None:
    assert all(map(partial(passes, share=0.5, rho=RHO), seeds(4, 30)))


def test_ten_percent_above_the_target_does_not_pass_under_autocorrelated_load() -> None:
    assert not any(map(partial(passes, share=1.1, rho=RHO), seeds(5, 30)))


def test_independent_latencies_are_judged_alike() -> None:
    assert passes(6, share=0.5, rho=0.0)
    assert not passes(7, share=1.1, rho=0.0)


def test_the_stalls_are_claimed_as_found() -> None:
    assert [claim.ok for claim in stall_claims(stalled())] == [True, True]


def test_the_command_runs_every_kind_and_reports_progress() -> None:
    told: list[tuple[str, int, int | None]] = []

    def progress(stage: str, done: int, total: int | None) -> None:
        told.append((stage, done, total))

    report = run_trials(2, workers=1, progress=progress)
    assert len(report.lines) == 9
    assert told[-1][1] == told[-1][2]
    assert {line.claim.split(" (")[0] for line in report.lines[2:]} == {
        stage for stage, _, _ in told
    }
    assert report.to_json()["lines"][0]["ok"] is True


def test_a_claim_is_held_to_its_bound_in_its_direction() -> None:
    assert Claim("c", 0.05, 0.05, "at_most").ok
    assert not Claim("c", 0.06, 0.05, "at_most").ok
    assert Claim("c", 0.06, 0.05, "at_least").ok
    assert not Claim("c", float("nan"), 0.05, "at_least").ok

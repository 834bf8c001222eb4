"""The harness against known truths. 1,000 comparisons each; of the slower load trials 60.

60 of 60 shows, at 95 % confidence, that a verdict is right at least 95 % of the time
(0.95 ** 60 < 0.05).
"""

from functools import partial

from dtrag_core.bench.claims import Claim
from dtrag_core.bench.clock import quiet_gc
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


def test_reported_p95_is_that_of_the_injected_delays() -> None:
    assert max(map(p95_error, seeds(1, 10))) <= 0.002


def test_equal_doubles_are_seldom_called_different() -> None:
    with quiet_gc():
        alarms = sum(map(called_different, seeds(2, 1_000)))
    assert 20 <= alarms <= 65


def test_a_double_20_percent_slower_is_found() -> None:
    with quiet_gc():
        assert sum(map(found_slower, seeds(3, 1_000))) >= 950


def test_half_the_target_passes_under_autocorrelated_load() -> None:
    with quiet_gc():
        assert all(map(partial(passes, share=0.5, rho=RHO), seeds(4, 60)))


def test_ten_percent_above_the_target_does_not_pass_under_autocorrelated_load() -> None:
    with quiet_gc():
        assert not any(map(partial(passes, share=1.1, rho=RHO), seeds(5, 60)))


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

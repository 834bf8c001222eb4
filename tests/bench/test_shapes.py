import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.bench.clock import NS_PER_S
from dtrag_core.bench.load_plan import Arrivals, LoadPlan
from dtrag_core.bench.scenarios import SCENARIOS, scenario, segments_of
from dtrag_core.bench.shapes import Shape
from dtrag_core.errors import MeasuringError, UnknownNameError

rates = st.one_of(st.just(0.0), st.floats(0.5, 500))
lines = st.lists(st.tuples(st.floats(0, 20), rates), min_size=1, max_size=6)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    at, points = 0.0, [(0.0, draw(rates))]
    for step, rate in draw(lines):
        at += step
        points.append((at, rate))
    points.append((at + 1, draw(st.floats(1, 500))))
    return Shape(tuple(points))


@given(shapes())
def test_times_are_as_dense_as_the_rate(shape: Shape) -> None:
    """Of a thousand evenly spread shares, those due before any moment are that part of the area."""
    shares = (np.arange(1_000) + 0.5) / 1_000
    times = shape.times(shares)
    assert (np.diff(times) >= -1e-9).all()
    assert 0 <= times[0] <= times[-1] <= shape.seconds
    fine = np.linspace(0, shape.seconds, 4_001)
    middle = (fine[1:] + fine[:-1]) / 2
    area = np.cumsum([shape.rate(at) for at in middle]) / 4_000 * shape.seconds
    due = np.searchsorted(times, fine[1:], side="right") / 1_000
    # The sum is coarse at jumps: a cell of time at the highest rate.
    assert np.abs(due - area / shape.expected).max() <= 0.002 + shape.peak / shape.mean / 1_000


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
@pytest.mark.parametrize("name", list(SCENARIOS))
def test_a_scenario_sends_what_its_shape_asks_for(name: str, arrivals: Arrivals) -> None:
    shape = scenario(name, 100, 60)
    plan = LoadPlan.shaped(shape, arrivals=arrivals, segments=segments_of(name, shape))
    due = plan.schedule_ns()
    assert len(due) == plan.requests == round(shape.expected)
    assert (np.diff(due) >= 0).all()
    assert 0 <= due[0] <= due[-1] < 60 * NS_PER_S
    assert (due == plan.schedule_ns()).all()


def test_a_steady_shape_is_the_plain_plan_with_constant_arrivals() -> None:
    plain = LoadPlan(50, 10, arrivals="constant").schedule_ns()
    shaped = LoadPlan.shaped(scenario("steady", 50, 10), arrivals="constant").schedule_ns()
    assert np.abs(shaped - plain - NS_PER_S / 100).max() <= 1  # half a gap later


def test_a_spike_is_five_times_as_dense() -> None:
    due = LoadPlan.shaped(scenario("spike", 100, 100), arrivals="constant").schedule_ns()
    per_s = np.histogram(due / NS_PER_S, bins=10, range=(0, 100))[0] / 10
    assert per_s == pytest.approx([100, 100, 100, 100, 500, 100, 100, 100, 100, 100], abs=0.2)


def test_plans_tell_their_shape_only_if_they_have_one() -> None:
    assert "shape" not in LoadPlan(50, 10).to_json()
    assert LoadPlan.shaped(scenario("ramp", 50, 10)).to_json()["shape"] == (
        (0, 5.0),
        (5.0, 50),
        (10, 50),
    )


@pytest.mark.parametrize(
    "points",
    [((0, 1),), ((1, 1), (2, 1)), ((0, 1), (2, 1), (1, 1)), ((0, -1), (2, 1)), ((0, 0), (2, 0))],
)
def test_an_impossible_shape_is_refused(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(MeasuringError, match="two points or more"):
        Shape(points)


def test_a_plan_that_contradicts_its_shape_and_an_unknown_scenario_are_refused() -> None:
    with pytest.raises(MeasuringError, match=r"LoadPlan\.shaped"):
        LoadPlan(10, 10, shape=scenario("steady", 50, 10))
    with pytest.raises(UnknownNameError, match="unknown scenario 'storm'; known: ramp"):
        scenario("storm", 50)

from io import StringIO

from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.load_result import Segment
from load_tests.recording import Merged, Recorder

requests = st.tuples(
    st.sampled_from(["unique", "batch"]),
    st.floats(-1, 12),
    st.integers(0, 10**12),
    st.sampled_from(["", "refused_503", "refused_429", "!timeout"]),
)


@given(st.lists(st.lists(st.lists(requests, max_size=8), max_size=4), min_size=1, max_size=4))
def test_what_processes_report_adds_up_exactly(
    processes: list[list[list[tuple[str, float, int, str]]]],
) -> None:
    merged, alone = Merged(6), Recorder(6, 10.0)
    for reports in processes:
        recorder = Recorder(6, 10.0)
        for sent in reports:
            for one in (recorder, alone):
                for stream, due, ns, kind in sent:
                    one.left(ns // 3)
                    if kind.startswith("!"):
                        one.failed(stream, due, kind[1:])
                    else:
                        one.timed(stream, due, ns, kind)
            merged.add(recorder.drain())
        merged.add(recorder.drain(last=True))
    expected = Merged(6)
    expected.add(alone.drain())
    for stream in ("unique", "batch"):
        for ours, theirs in zip(merged.segments(stream), expected.segments(stream), strict=True):
            assert ours.histogram == theirs.histogram
            assert (dict(ours.errors), dict(ours.refused)) == (theirs.errors, theirs.refused)
    assert merged.lag == expected.lag
    assert merged.sent == sum(len(sent) for reports in processes for sent in reports)


def test_after_the_last_report_nothing_counts_and_nothing_is_logged() -> None:
    raw = StringIO()
    recorder = Recorder(2, 10.0, raw)
    recorder.timed("unique", 7.0, 5)
    merged = Merged(2)
    merged.add(recorder.drain(last=True))
    recorder.timed("unique", 8.0, 6)
    recorder.failed("unique", 8.0, "timeout")
    merged.add(recorder.drain())
    recorder.timed("unique", 9.0, 7)
    merged.add(recorder.drain())

    assert raw.getvalue() == "unique 1 answered 5\n"
    assert Segment.merge(merged.segments("unique")).histogram == Histogram.of([5])
    assert merged.sent == 1

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.result_file import first_error
from dtrag_core.bench.results import read_result, result_schema, write_result
from dtrag_core.errors import ResultError
from dtrag_core.targets import PERFORMANCE_TARGETS

Make = Callable[..., dict[str, Any]]


def _set(result: dict[str, Any], pointer: str, value: object) -> None:
    *parents, last = pointer.strip("/").split("/")
    at: Any = result
    for part in parents:
        at = at[int(part)] if isinstance(at, list) else at[part]
    at[last] = value


def test_a_result_comes_back_as_it_was_written(make_result: Make, tmp_path: Path) -> None:
    result = make_result(3)
    path = write_result(result, tmp_path / "reports" / "run-3")
    assert path.name == "result.json"
    assert read_result(path) == result
    assert read_result(path.parent) == result
    histogram = Histogram.from_json(read_result(path)["load"]["segments"][0]["histogram"])
    assert histogram.count == 500
    assert [each.name for each in path.parent.iterdir()] == ["result.json"]


def test_numpy_scalars_and_tuples_become_plain_numbers(make_result: Make, tmp_path: Path) -> None:
    result = make_result()
    result["cache"]["ceiling"] = np.float32(0.5)
    result["load"]["sent"] = np.int64(6000)
    result["load"]["stalls_ns"] = (1, 2)
    read = read_result(write_result(result, tmp_path))
    assert (read["cache"]["ceiling"], read["load"]["sent"]) == (0.5, 6000)
    assert read["load"]["stalls_ns"] == [1, 2]


@pytest.mark.parametrize(
    ("pointer", "value", "says"),
    [
        ("/noise_floor/floor", float("nan"), "nan"),
        ("/speedup/end_to_end/ci_high", float("inf"), "inf"),
        ("/load/plan/arrivals", "bursty", "bursty"),
        ("/targets/2/verdict", "MAYBE", "MAYBE"),
        ("/memory/outside/legacy/rss", -1, "-1"),
        ("/modes/legacy/histogram/digits", 2, "2"),
        ("/environment/hostname", "box", "hostname"),
        ("/run_id", "../elsewhere", "elsewhere"),
        ("/created", "yesterday", "yesterday"),
        ("/dataset/spec", b"raw", "bytes"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place_and_nothing_written(
    make_result: Make, tmp_path: Path, pointer: str, value: object, says: str
) -> None:
    result = make_result()
    _set(result, pointer, value)
    with pytest.raises(ResultError) as caught:
        write_result(result, tmp_path)
    place = "/environment" if "hostname" in pointer else pointer
    assert place in str(caught.value)
    assert says in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("metric", PERFORMANCE_TARGETS)
def test_every_target_is_there_exactly_once(make_result: Make, tmp_path: Path, metric: str) -> None:
    result = make_result()
    others = [target for target in result["targets"] if target["metric"] != metric]
    for targets in (others, [*others, others[0]]):
        with pytest.raises(ResultError, match="/targets"):
            write_result({**result, "targets": targets}, tmp_path)


def test_the_schema_knows_the_targets_of_the_package() -> None:
    assert set(result_schema()["$defs"]["target"]["properties"]["metric"]["enum"]) == set(
        PERFORMANCE_TARGETS
    )


def test_an_earlier_result_is_never_overwritten(make_result: Make, tmp_path: Path) -> None:
    path = write_result(make_result(1), tmp_path)
    with pytest.raises(ResultError, match="already holds a result"):
        write_result(make_result(2), tmp_path)
    assert read_result(path)["run_id"] == "run-1"


def test_a_failing_write_leaves_nothing(
    make_result: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_result(make_result(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unreadable_files_are_refused_with_the_reason(make_result: Make, tmp_path: Path) -> None:
    path = write_result(make_result(), tmp_path)
    text = path.read_text()
    for content, says in (
        (text.replace('"schema_version": 2', '"schema_version": 99'), "/schema_version is 99"),
        (text[: len(text) // 2], "not JSON"),
        (text.replace('"floor": 0.03', '"floor": NaN'), "NaN"),
        (text.replace('"floor": 0.03', '"floor": -0.03'), "/noise_floor/floor is -0.03"),
        ("[]", "/schema_version is None"),
    ):
        assert content != text
        path.write_text(content)
        with pytest.raises(ResultError) as caught:
            read_result(path)
        assert says in str(caught.value)
        assert str(path) in str(caught.value)
    with pytest.raises(ResultError, match="cannot be read"):
        read_result(tmp_path / "nowhere.json")


def test_every_object_of_the_schema_says_what_else_it_may_hold() -> None:
    open_objects: list[str] = []

    def walk(node: object, at: str) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object" and "additionalProperties" not in node:
                open_objects.append(at)
            for key, value in node.items():
                walk(value, f"{at}/{key}")

    walk(result_schema(), "")
    assert open_objects == []


@pytest.mark.parametrize("bad", [-1, 1.5, True, "7", None])
def test_one_bad_count_among_thousands_is_named(bad: object) -> None:
    counts: dict[str, Any] = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    assert first_error(counts, [*range(5_000), 0]) is None
    error = first_error(counts, [*range(5_000), bad])
    assert error is not None
    assert list(error.absolute_path) == [5_000]

"""Tables, figures and sentences follow the result: nothing in them is a constant."""

import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from dtrag_core.errors import ResultError
from dtrag_core.report import (
    figures_cost,
    figures_load,
    figures_speed,
    formats,
    tables_cost,
    tables_run,
    tables_speed,
    while_written,
)
from dtrag_core.report.drawing import Drawing
from dtrag_core.report.sections import command
from dtrag_core.report.table import Table
from dtrag_core.report.verdicts import summary, verdicts

TABLES = [
    tables_speed.latency,
    tables_speed.ladder,
    tables_speed.legs,
    tables_speed.capacity,
    tables_speed.segments,
    tables_speed.generator,
    tables_cost.cache_latency,
    tables_cost.cache_curve,
    tables_cost.memory_parts,
    tables_cost.memory_outside,
    tables_cost.quality_methods,
    tables_cost.quality_differences,
    while_written.latencies,
]
FIGURES: list[Callable[[Any], Drawing | None]] = [
    figures_speed.ecdf,
    figures_speed.timelines,
    figures_speed.forest,
    figures_speed.rounds,
    figures_load.capacity,
    figures_load.load,
    figures_cost.cache,
    figures_cost.memory,
    figures_cost.quality,
]
COUNTED = {"run", "segment"}


def shaken(value: Any, chance: random.Random | None = None) -> Any:  # noqa: ANN401 (any JSON value)
    """Return a result in which every number is another one; histograms stay histograms."""
    chance = chance or random.Random(1)
    if isinstance(value, dict):
        changed = {name: shaken(part, chance) for name, part in value.items()}
        return {**changed, "digits": 3} if "digits" in changed else changed
    if isinstance(value, list):
        return [shaken(part, chance) for part in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return 2 * value + 1 if isinstance(value, int) else value * chance.uniform(1.2, 1.9) + 0.017


@pytest.mark.parametrize("make", TABLES, ids=lambda make: str(make.__name__))
def test_every_column_of_numbers_follows_the_result(
    make: Callable[[Any], Table], example: dict[str, Any]
) -> None:
    before, after = make(example), make(shaken(example))

    assert before.rows
    assert {len(row) for row in before.rows} == {len(before.columns)} == {len(before.align)}
    for number, (name, align) in enumerate(zip(before.columns, before.align, strict=True)):
        old, new = ([row[number] for row in table.rows] for table in (before, after))
        if align == "r" and name not in COUNTED and set(old) != {formats.NOTHING}:
            assert old != new, name


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: str(draw.__name__))
def test_every_figure_follows_the_result(
    draw: Callable[[Any], Drawing | None], example: dict[str, Any]
) -> None:
    before, again, after = draw(example), draw(example), draw(shaken(example))

    assert before is not None
    assert again is not None
    assert after is not None
    assert before.svg() == again.svg()
    assert before.svg() != after.svg()


def test_a_percentile_the_sample_does_not_carry_is_a_dash_with_its_reason(
    example: dict[str, Any],
) -> None:
    table = tables_speed.latency(example)

    p99 = [row[table.columns.index("P99, ms")] for row in table.rows]
    assert set(p99) == {formats.NOTHING}
    assert table.notes == (
        f"{formats.NOTHING}  P99 is shown from 10,000 samples on; here are 5,000.",
        "Cold is the first search in a fresh process; the arm that comes first pays for the files.",
    )


def test_every_arm_of_the_rounds_has_a_name_of_its_own(example: dict[str, Any]) -> None:
    table = tables_speed.latency(example)

    names = {row[0]: row[1] for row in table.rows}
    assert len(names) == len(example["modes"]) == 9
    assert names["legacy + overlap + int8 + ann"] == "overlap + int8 + ann"
    assert names["optimised without overlap"] == "int8 + ann + shards"
    assert names["optimised"] == "overlap + int8 + ann + shards"


def test_every_rung_and_every_switch_left_out_has_its_ratio(example: dict[str, Any]) -> None:
    labels = [row[0] for row in tables_speed.ladder(example).rows]

    switches = ("overlap", "int8", "ann", "shards")
    expected = [f"{verb} {switch}" for verb in ("adding", "leaving out") for switch in switches]
    assert labels == ["whole", "scheduling alone", *expected, "noise"]


def test_a_segment_counts_its_failed_as_over_the_target(example: dict[str, Any]) -> None:
    table = tables_speed.segments(example)

    eighth = dict(zip(table.columns, table.rows[7], strict=True))
    assert eighth["failed"] == "2"
    assert eighth["failed or over 100 ms"] == "5"
    assert eighth["their share, %"] == "1.00"
    assert eighth["P95, ms"] == formats.NOTHING


def test_the_service_level_in_words_is_that_of_the_result(example: dict[str, Any]) -> None:
    formats.target_of(example, "p95_latency_ms")
    example["targets"][0]["target"] = 3.0

    table = tables_speed.segments(example)

    assert "failed or over 3 ms" in table.columns
    assert all(int(row[3]) > 5 for row in table.rows)


def test_a_rate_without_p95_says_why(example: dict[str, Any]) -> None:
    table = tables_speed.capacity(example)

    assert table.rows[2][3] == formats.NOTHING
    assert table.rows[7][6] == "saturated"
    assert "failed requests reach into the P95" in table.notes[0]


def test_verdicts_stand_in_the_order_of_the_targets_whatever_the_file_says(
    example: dict[str, Any],
) -> None:
    example["targets"].reverse()

    rows = verdicts(example)

    assert [row.metric for row in rows][:2] == ["p95_latency_ms", "throughput_qps"]
    assert rows[0].value == "2.91 ms"
    assert rows[0].interval == "2.85 … 2.99"
    assert rows[2].target.endswith("70 %")
    assert rows[3].interval == "74.61"
    assert rows[4].target == f"≥ 2 {formats.TIMES}"
    assert summary(example) == "Of 6 targets: 4 PASS, 1 FAIL, 1 INCONCLUSIVE."


def test_a_target_without_value_is_a_dash(example: dict[str, Any]) -> None:
    example["targets"][1].update(value=None, ci_low=None, ci_high=None)
    example["targets"][2].update(ci_high=None)

    rows = verdicts(example)

    assert (rows[1].value, rows[1].interval) == (formats.NOTHING, formats.NOTHING)
    assert rows[2].interval == "from 71.64"


def test_a_missing_target_is_an_error(example: dict[str, Any]) -> None:
    del example["targets"][0]

    with pytest.raises(ResultError, match="has no target 'p95_latency_ms'"):
        verdicts(example)


def test_without_judgments_there_is_no_quality_to_draw(example: dict[str, Any]) -> None:
    example["quality"]["judged"] = None
    example["quality"]["optimized_vs_legacy"]["ndcg_difference"] = None

    assert figures_cost.quality(example) is None
    assert tables_cost.quality_differences(example).rows == ()


def test_what_the_platform_does_not_say_is_a_dash(example: dict[str, Any]) -> None:
    del example["environment"]["host"]
    example["environment"].update(git=None, load_average=None, cpu_model=None)

    rows = {row[0]: row[1] for row in tables_run.environment(example).rows}

    for name in ("processor", "commit", "steal during the run, %", "load average, 1/5/15 min"):
        assert rows[name] == formats.NOTHING


def test_the_command_repeats_the_run(example: dict[str, Any]) -> None:
    example["dataset"]["spec"] = "beir:my data"
    example["workload"].update(seed=7, rounds=12)

    line = command(example)

    assert "--dataset 'beir:my data'" in line
    assert re.search(r"--rounds 12 .*--seed 7\b", line)


def test_a_table_is_a_frame_and_escaped_html() -> None:
    table = Table.of("name|n, %", "lr", [("<b>", "1")], ["a & b", "a & b"])

    assert table.frame().to_dict("list") == {"name": ["<b>"], "n, %": ["1"]}
    page = table._repr_html_()
    assert "&lt;b&gt;" in page
    assert page.count("a &amp; b") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.5, "1,234"),
        (12.345, "12.3"),
        (1.0, "1.00"),
        (0.04561, "0.0456"),
        (0.0, "0"),
        (999.96, "1,000"),
        (-2.5, "-2.50"),
        (None, formats.NOTHING),
    ],
)
def test_three_significant_digits(value: float | None, text: str) -> None:
    assert formats.significant(value) == text

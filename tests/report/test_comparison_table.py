"""The table of text runs."""

import io

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from iclgd.measures import CONTROLS
from iclgd.report.comparison_table import comparison_table
from iclgd.report.comparisons import Estimate

SUMMARY = {
    "accuracy/in_context": 0.84,
    "accuracy/in_context_high": 0.871,
    "accuracy/in_context_low": 0.812,
    "peak_memory_bytes": 3.5 * 2**30,
    "queries_per_second": 12.345,
    "rec2ftp": 85.62,
    "rec2ftp_high": 91.2,
    "rec2ftp_low": 79.1,
    "sim_aou": 0.1861,
    "sim_aou/layer_00": 0.2,
    "sim_aou_high": 0.2,
    "sim_aou_low": 0.17,
    "sim_aou_random": -0.0001,
    "sim_aou_random_high": 0.004,
    "sim_aou_random_low": -0.005,
}
UNTRAINED = {f"untrained/{name}": value for name, value in SUMMARY.items() if name.startswith("sim_aou")}


def cells(table: Table) -> list[list[str]]:
    """Return a table's rows."""
    return [list(row) for row in zip(*(map(str, column.cells) for column in table.columns), strict=True)]


def printed(table: Table, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_rows_are_measures_and_columns_controls() -> None:
    table = comparison_table(SUMMARY | UNTRAINED, "sst2")
    assert [column.header for column in table.columns] == ["name", "value", "untrained model"]
    assert cells(table) == [
        ["accuracy/in_context", "0.840 [0.81, 0.87]", ""],
        ["rec2ftp", "85.6 [79, 91]", ""],
        ["sim_aou", "0.186 [0.17, 0.20]", "0.186 [0.17, 0.20]"],
        ["sim_aou_random", "-0.0001 [-0.005, 0.004]", "-0.0001 [-0.005, 0.004]"],
    ]
    assert str(table.caption).splitlines() == [
        "95% intervals are over queries, of one draw of demonstrations",
        "12.3 queries per second",
        "peak memory 3,584 MiB",
    ]
    several = comparison_table(SUMMARY | {"draw_00/sim_aou": 0.2, "draw_01/sim_aou": 0.1}, "sst2")
    assert len(cells(several)) == len(cells(table))
    assert str(several.caption).splitlines()[:2] == [
        "means over 2 draws of demonstrations",
        "95% intervals are over draws and queries",
    ]


def test_without_intervals_there_are_values_alone() -> None:
    summary = {"sim_aou": 0.18612, "rec2ftp": 85.62, "kendall": -0.000123}
    table = comparison_table(summary, "sst2")
    assert cells(table) == [["rec2ftp", "85.6"], ["sim_aou", "0.186"], ["kendall", "-0.000123"]]
    assert table.caption is None


def test_rec2ftp_that_is_not_defined_is_explained() -> None:
    nothing = {f"untrained/rec2ftp{end}": np.nan for end in ("", "_low", "_high")}
    table = comparison_table(SUMMARY | UNTRAINED | nothing, "sst2")
    assert cells(table)[1] == ["rec2ftp", "85.6 [79, 91]", "nan"]
    assert str(table.caption).endswith("\nrec2ftp nan: finetuning put no query right")


def test_what_has_no_place_comes_last() -> None:
    table = comparison_table({"momentum/gain": 2.0, **SUMMARY}, "sst2")
    assert cells(table)[-1] == ["momentum/gain", "2"]


@pytest.mark.parametrize(("num_controls", "num_parts"), [(1, 1), (2, 2), (3, 2)])
def test_rows_have_one_line_in_80_columns_and_controls_without_place_a_table_below(
    num_controls: int, num_parts: int
) -> None:
    prefixes = ["", *(f"{name}/" for name in list(CONTROLS)[:num_controls])]
    summary = {
        f"{prefix}{name}{end}": place + value
        for place, prefix in enumerate(prefixes)
        for name in ("kendall_examples_random", "sim_aou")
        for end, value in (("", -0.1234), ("_low", -0.1834), ("_high", -0.0634))
    }
    lines = printed(comparison_table(summary | {"queries_per_second": 2.0}, "sst2"), 80)
    assert max(map(len, lines)) <= 80
    for name in ("kendall_examples_random", "sim_aou"):
        rows = [line for line in lines if f" {name} " in line]
        assert len(rows) == num_parts
        cells = [cell.strip() for row in rows for cell in row.split("│")[2:-1]]
        expected = [
            f"{place - 0.1234:.3f} [{place - 0.1834:.2f}, {place - 0.0634:.2f}]" for place in range(1 + num_controls)
        ]
        assert cells == expected
    headers = [cell.strip() for line in lines if line.startswith("┃") for cell in line.split("┃")[1:-1]]
    assert [each for each in headers if each != "name"] == [
        "value",
        *(CONTROLS[name].label for name in list(CONTROLS)[:num_controls]),
    ]
    assert (lines[0].strip(), lines[-1].strip()) == ("sst2", "2 queries per second")


def test_a_wide_table_has_one_line_for_each_measure() -> None:
    lines = printed(comparison_table(SUMMARY | UNTRAINED, "sst2"), 100)
    assert any(line.count("0.186 [0.17, 0.20]") == 2 for line in lines)


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (Estimate(1.0, 1.0, 1.0), "1.000 [1.00, 1.00]"),
        (Estimate(-0.0001, -0.2, 0.2), "0.000 [-0.20, 0.20]"),
        (Estimate(0.5, 0.5 - 1e-12, 0.5 + 1e-12), "0.500 [0.50, 0.50]"),
        (Estimate(1.3e-5, 1e-5, 1.6e-5), "0.0000130 [0.000010, 0.000016]"),
        (Estimate(np.nan, np.nan, np.nan), "nan"),
        (Estimate(np.inf, -np.inf, np.inf), "inf"),
        (Estimate(0.5, 1.0, 0.0), "0.500 [1.00, 0.00]"),
    ],
)
def test_numbers_have_as_many_decimals_as_their_interval_needs(estimate: Estimate, expected: str) -> None:
    assert estimate.text() == expected

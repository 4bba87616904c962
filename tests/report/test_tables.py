import io

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from iclgd.report.tables import algorithm_table, summary_table
from tests.report.records import ALGORITHMS


def cells(table: Table) -> list[list[str]]:
    """Return a table's rows."""
    return [list(row) for row in zip(*(map(str, column.cells) for column in table.columns), strict=True)]


def test_a_summary_of_one_seed_has_names_and_values_but_no_layers() -> None:
    summary = {"gd/learning_rate": 0.5, "loss/gd": 0.25, "loss/gd/layer_00": 3.0, "loss/ridge": float("nan")}
    table = summary_table(summary, "run")
    assert cells(table) == [["gd/learning_rate", "0.5"], ["loss/gd", "0.25"], ["loss/ridge", "nan"]]
    assert [row.end_section for row in table.rows] == [True, False, False]


def test_a_summary_of_several_seeds_has_deviations() -> None:
    summary = {
        "loss/gd": 2.0,
        "loss/gd/layer_00": 5.0,
        "loss/gd/layer_00/seed_0": 5.0,
        "loss/gd/seed_0": 1.0,
        "loss/gd/seed_1": 3.0,
        "train/steps_per_second": 7.0,
    }
    table = summary_table(summary, "run")
    assert [column.header for column in table.columns] == ["name", "mean", "± over seeds"]
    assert cells(table) == [["loss/gd", "2", f"{np.sqrt(2):.3g}"], ["train/steps_per_second", "7", ""]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_summary_of_seeds_that_diverged_is_a_table_too(bad: float) -> None:
    table = summary_table({"loss/gd": bad, "loss/gd/seed_0": -bad, "loss/gd/seed_1": bad}, "run")
    assert cells(table)[0][1] == f"{bad:.6g}"


def test_algorithm_table_has_a_row_for_every_layer_of_every_seed() -> None:
    rows = cells(algorithm_table(ALGORITHMS))
    assert rows[0] == ["3", "1", "gd(9)", "0.5 [0.25, 1]", "12.5%", "75%", "gd(10)\ngd(11)\nand 2 more"]
    assert rows[1] == ["3", "2", "gd(19)", "1 [0.75, 1.5]", "25%", "75%", ""]
    assert [row[0] for row in rows] == ["3", "3", "4", "4"]


def test_a_single_seed_needs_no_column() -> None:
    assert algorithm_table({"seeds": ALGORITHMS["seeds"][:1]}).columns[0].header == "layer"


def test_80_characters_show_the_whole_of_every_name() -> None:
    (seed, _) = ALGORITHMS["seeds"]
    verdict = {**seed["verdicts"][0], "learner": "preconditioned_gd_diagonal(1)"}
    console = Console(width=80, file=io.StringIO())
    console.print(algorithm_table({"seeds": [{**seed, "verdicts": [verdict]}]}))
    assert "…" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_numbers_in_names_are_sorted_as_numbers() -> None:
    names = [f"accuracy/{number}_demonstrations" for number in (0, 1, 2, 4, 8, 16, 32)]
    table = summary_table({name: 0.5 for name in sorted(names)}, "run")
    assert list(table.columns[0].cells) == names

"""What a reviewer reads in W&B, as rows and lines, beside the files that they come from."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iclgd.report import comparisons
from iclgd.tracking.environment import describe_environment
from iclgd.tracking.pages import (
    NUM_CHARACTERS,
    NUM_QUERIES,
    by_layer,
    headline,
    layer_charts,
    layer_sheet,
    queries,
)
from iclgd.tracking.provenance import command, copy_files, provenance
from iclgd.tracking.run_directory import RunDirectory
from tests.conftest import ROOT

RECORDED = ROOT / "tests" / "reference" / "runs"
SETTINGS = ("zero_shot", "in_context", "finetuned")
HOSTILE = [
    "<script>alert('x')</script>",
    '"quotes", {braces} and \\ and $\\alpha$',
    "\u202eright to left \u05d0\u05d1\u05d2",
    "\x00\x07\x1b[31mcontrol\r\n\ttabs",
    "half a character: \ud800",
    "x" * 10_000,
]


def recorded(name: str) -> dict[str, Any]:
    (path,) = (RECORDED / name).glob("*/summary.json")
    summary: dict[str, Any] = json.loads(path.read_text())
    return summary


def answers(
    control: str | None, query: int, text: str = "a :", label: str = "yes", choices: Any = ("no", "yes", None)
) -> list[dict[str, Any]]:
    """Return the three lines of a query in ``predictions.jsonl``."""
    scores = [{"yes": -1.5 - query, "no": -1.0}, {"yes": -0.25, "no": -3.0}, {"yes": math.nan, "no": -2.0}]
    of_query = {"control": control, "query": query, "text": text, "label": label}
    of_settings = zip(SETTINGS, choices, scores, strict=True)
    return [{**of_query, "setting": setting, "choice": choice, "scores": of} for setting, choice, of in of_settings]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["debug", "seeds", "embedded"])
def test_headline_numbers_have_the_intervals_of_the_summary(name: str) -> None:
    summary = recorded(name)
    shown = headline(summary)
    assert shown.columns == ["name", "value", "low", "high"]
    assert not any("/layer_" in str(row[0]) or "/seed_" in str(row[0]) for row in shown.rows)
    for key, value, low, high in shown.rows:
        found = comparisons.estimate(summary, str(key))
        assert found is not None
        expected = [None if not math.isfinite(each) else each for each in found]
        assert [value, low, high] == expected
    there = {str(row[0]) for row in shown.rows}
    left_out = {key for key in summary if "/layer_" not in key and "/seed_" not in key} - there
    assert all(key.removesuffix("_low").removesuffix("_high") in there for key in left_out)


def test_layers_are_those_of_the_figures() -> None:
    summary = {**recorded("embedded"), "untrained/sim_aou/layer_00": math.nan, "untrained/sim_aou/layer_01": 0.5}
    lines = by_layer(summary)
    assert len(lines) == len({key.partition("/layer_")[0] for key in summary if "/layer_" in key})
    for line in lines:
        found = comparisons.by_layer(summary, line.name)
        assert found is not None
        layers, values = found
        kept = np.isfinite(values)
        assert (line.layers, line.values) == (layers[kept].tolist(), values[kept].tolist())
    sheet = layer_sheet(lines)
    assert [row[0] for row in sheet.rows] == [0, 1, 2, 3]
    column = sheet.columns.index("untrained/sim_aou")
    assert [row[column] for row in sheet.rows] == [None, 0.5, None, None]
    charts = layer_charts(lines, ["untrained"])
    assert {line.name for line in charts["sim_aou"]} == {"sim_aou", "sim_aou_random", "untrained/sim_aou"}
    assert {line.name for line in charts["kendall_examples"]} == {"kendall_examples", "kendall_examples_random"}
    assert sum(map(len, charts.values())) == len(lines)


def test_layers_of_several_seeds_are_means() -> None:
    summary = recorded("seeds")
    lines = {line.name: line for line in by_layer(summary)}
    assert lines["loss/gd"].values == [summary[f"loss/gd/layer_0{layer}"] for layer in range(3)]
    assert not any("seed" in name for name in lines)
    charts = layer_charts(lines.values(), [])
    assert {name: {line.name for line in chart} for name, chart in charts.items()} == {
        "loss": {"loss/gd", "loss/gd_plus_plus", "loss/transformer"},
        "gd_plus_plus": {"gd_plus_plus/curvature", "gd_plus_plus/learning_rate"},
    }
    assert by_layer(recorded("debug")) == []


def test_queries_are_those_of_the_predictions(tmp_path: Path) -> None:
    rows = [line for control in (None, "untrained") for query in range(3) for line in answers(control, query)]
    found = queries(written(tmp_path / "predictions.jsonl", rows))
    assert found is not None
    assert len(found.rows) == 6
    for number, row in enumerate(found.rows):
        cells = dict(zip(found.columns, row, strict=True))
        lines = rows[3 * number : 3 * number + 3]
        assert [cells[key] for key in ("control", "query", "text", "label")] == [
            lines[0]["control"] or "",
            lines[0]["query"],
            "a :",
            "yes",
        ]
        for line in lines:
            setting = line["setting"]
            right = None if line["choice"] is None else line["choice"] == line["label"]
            assert (cells[f"{setting} choice"], cells[f"{setting} right"]) == (line["choice"], right)
            # repr: NaN is not equal to itself
            assert repr(json.loads(str(cells[f"{setting} scores"]))) == repr(line["scores"])


def test_a_table_takes_so_many_queries_and_no_more_is_read(tmp_path: Path) -> None:
    path = written(
        tmp_path / "predictions.jsonl", [line for query in range(NUM_QUERIES + 1) for line in answers(None, query)]
    )
    with path.open("ab") as file:
        file.write(b"{not JSON\n" * 10)
    found = queries(path)
    assert found is not None
    assert [row[2] for row in found.rows] == list(range(NUM_QUERIES))


def test_hostile_texts_are_what_they_were_but_for_their_length(tmp_path: Path) -> None:
    rows = [line for query, text in enumerate(HOSTILE) for line in answers(None, query, text, text, (text,) * 3)]
    found = queries(written(tmp_path / "predictions.jsonl", rows))
    assert found is not None
    for text, row in zip(HOSTILE, found.rows, strict=True):
        cells = dict(zip(found.columns, row, strict=True))
        expected = text.replace("\ud800", "?")
        if len(text) > NUM_CHARACTERS:
            expected = f"{'x' * NUM_CHARACTERS}... (10000 characters)"
        assert cells["text"] == cells["label"] == cells["in_context choice"] == expected
        assert cells["in_context right"] is True, "what is compared is not what is shortened"
        json.dumps(row).encode()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\n[]\n3\n{}\n", b'{"control": null, "query": "0"}\n'])
def test_no_predictions_are_no_table(content: bytes, tmp_path: Path) -> None:
    assert queries(tmp_path / "predictions.jsonl") is None
    (tmp_path / "predictions.jsonl").write_bytes(content)
    assert queries(tmp_path / "predictions.jsonl") is None


def test_a_run_says_how_it_is_repeated(tmp_path: Path) -> None:
    environment = describe_environment("cpu")
    imports = [{"path": "my entries.py", "sha256": "0"}, {"path": 3}, 4]
    run = RunDirectory.create("it's", "seed: 1\n", {**environment, "imports": imports})
    assert command(run) == "iclgd run run_directory/config.yaml --name 'it'\"'\"'s' --import 'my entries.py'"
    shown = provenance(run)
    assert shown["packages"] == environment["packages"]
    assert (shown["commit"], shown["device"]) == (environment["commit"], "cpu")
    assert "wandb" not in shown, "whose account it was is nobody's business"
    (run.path / "environment.json").write_text("{")
    assert set(provenance(run)) == {"command"}
    folder = tmp_path / "files"
    folder.mkdir()
    copied = copy_files(run, folder)
    assert [path.relative_to(folder) for path in copied] == [
        Path("run_directory/config.yaml"),
        Path("run_directory/environment.json"),
    ]
    assert copied[0].read_bytes() == run.config_path.read_bytes()
    assert not copied[0].is_symlink()


def test_the_process_of_the_client_starts_without_what_is_slow() -> None:
    slow = ["torch", "numpy", "pandas", "matplotlib", "yaml", "wandb"]
    code = f"import sys, iclgd.tracking.client; print([name for name in {slow} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

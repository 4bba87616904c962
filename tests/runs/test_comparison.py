import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy import stats

import iclgd
from iclgd.checks import InputError
from iclgd.runs import compare_runs
from iclgd.runs.comparison import Difference, RunComparison
from iclgd.runs.comparison_text import comparison_lines
from iclgd.runs.difference_intervals import Interval
from iclgd.tracking.run_directory import RunDirectory, RunDirectoryError

Cli = Callable[..., tuple[int, str, str]]
RUNS = Path(__file__).parents[1] / "reference" / "runs"
DEBUG, SEEDS, EMBEDDED = (RUNS / name / "20261125-000000-e4bb99" for name in ("debug", "seeds", "embedded"))


def copy(path: Path, to: Path, config: dict[str, str] | None = None, summary: dict[str, float] | None = None) -> Path:
    """Copy a run with changes of texts in its config, and of its summary."""
    shutil.copytree(path, to)
    text = (to / "config.yaml").read_text()
    for before, after in (config or {}).items():
        assert before in text
        text = text.replace(before, after)
    (to / "config.yaml").write_text(text)
    numbers = json.loads((to / "summary.json").read_text())
    (to / "summary.json").write_text(json.dumps(numbers | (summary or {})))
    return to


def by_name(paths: list[Path], **options: bool) -> dict[str, Difference]:
    (differences,) = compare_runs(paths, **options).differences
    return {each.name: each for each in differences}


def losses(path: Path) -> NDArray[Any]:
    """Return the transformer's loss on each evaluation task, from the opened run."""
    run: Any = iclgd.load_run(path)
    from iclgd.data.seeding import named_generator

    batch = run.config.task.sample(
        run.config.evaluation.num_tasks, named_generator(run.config.seed, "evaluation"), torch.float32
    )
    with torch.no_grad():
        prediction = run.models["transformer"](batch.x, batch.y, batch.query)
    return np.asarray(((prediction - batch.target) ** 2).sum(-1) / 2, float)


def changed(to: Path, **changes: Any) -> Path:
    """Copy the reference run with other weights, and the summary that they give."""
    path = copy(DEBUG, to, **changes)
    weights = load_file(path / "weights.safetensors")
    save_file(
        {name: each * 2 if name.startswith("transformer.") else each for name, each in weights.items()},
        path / "weights.safetensors",
    )
    summary = json.loads((path / "summary.json").read_text())
    (path / "summary.json").write_text(json.dumps(summary | {"loss/transformer": float(losses(path).mean())}))
    return path


def test_the_same_tasks_are_paired(tmp_path: Path) -> None:
    other = changed(tmp_path / "other")
    found = by_name([DEBUG, other])["loss/transformer"]
    expected = stats.ttest_rel(losses(other), losses(DEBUG)).confidence_interval()
    assert found.how == "paired: 200 tasks"
    assert found.interval is not None
    assert found.interval.difference == pytest.approx(found.second - found.first, rel=1e-3)
    assert found.interval[1:] == pytest.approx((expected.low, expected.high), rel=1e-5)
    assert found.interval.low > 0 or found.interval.high < 0


def test_other_tasks_are_not_paired(tmp_path: Path) -> None:
    other = changed(tmp_path / "other", config={"seed: 0\ntask": "seed: 1\ntask"})
    found = by_name([DEBUG, other])["loss/transformer"]
    expected = stats.ttest_ind(losses(other), losses(DEBUG), equal_var=False).confidence_interval()
    assert found.how == "unpaired: 200 and 200 tasks"
    assert found.interval is not None
    assert found.interval[1:] == pytest.approx((expected.low, expected.high), rel=1e-5)


def test_all_numbers_of_the_weights_are_those_of_the_summary() -> None:
    from iclgd.experiments.regression import EXPERIMENT

    run: Any = iclgd.load_run(DEBUG)
    found = EXPERIMENT.per_task(run.config, RunDirectory(DEBUG))
    measured = {name for name in run.summary if name.startswith(("loss/", "alignment/"))}
    assert set(found) == measured
    for name, values in found.items():
        assert values.mean() == pytest.approx(run.summary[name], rel=1e-4, abs=1e-12)


def test_weights_that_do_not_give_the_summary_are_not_believed(tmp_path: Path) -> None:
    other = copy(DEBUG, tmp_path / "other", summary={"loss/transformer": 0.5})
    comparison = compare_runs([DEBUG, other])
    found = {each.name: each for each in comparison.differences[0]}
    assert found["loss/transformer"][3:] == (None, "no interval: one number each")
    assert found["loss/gd"].how == "paired: 200 tasks"
    assert comparison.notes == [f"{other}: the weights do not give these numbers again: loss/transformer"]
    (other / "weights.safetensors").unlink()
    comparison = compare_runs([DEBUG, other])
    assert {each.interval for each in comparison.differences[0]} == {None}
    assert "weights.safetensors: missing" in comparison.notes[0]


def test_seeds_are_paired_if_they_are_the_same(tmp_path: Path) -> None:
    changes = {"loss/gd/seed_3": 1.0, "loss/gd/seed_4": 1.5, "loss/gd": 1.25}
    base = copy(SEEDS, tmp_path / "base", summary={"loss/gd/seed_3": 0.5, "loss/gd/seed_4": 0.6, "loss/gd": 0.55})
    found = by_name([base, copy(SEEDS, tmp_path / "same", summary=changes)])["loss/gd"]
    expected = stats.ttest_rel([1.0, 1.5], [0.5, 0.6]).confidence_interval()
    assert found.how == "paired: 2 seeds"
    assert found.interval == pytest.approx((0.7, expected.low, expected.high))
    others = copy(SEEDS, tmp_path / "others", {"seed: 3\ntask": "seed: 5\ntask"}, changes)
    found = by_name([base, others])["loss/gd"]
    expected = stats.ttest_ind([1.0, 1.5], [0.5, 0.6], equal_var=False).confidence_interval()
    assert found.how == "unpaired: 2 and 2 seeds"
    assert found.interval == pytest.approx((0.7, expected.low, expected.high))
    assert by_name([DEBUG, base])["loss/gd"][3:] == (None, "no interval: 1 seed beside 2 seeds")


def text_run(path: Path, right: Mapping[str, Sequence[int | None]], texts: list[str], **config: str) -> Path:
    """Make a text run whose answers are given by setting."""
    copy(EMBEDDED, path, config)
    summary = json.loads((path / "summary.json").read_text())
    rows: list[dict[str, Any]] = []
    for number, text in enumerate(texts):
        for setting, values in right.items():
            choice = {1: "good", 0: "bad", None: None}[values[number]]
            row = {"control": None, "query": number, "setting": setting, "text": text, "label": "good"}
            rows.append({**row, "choice": choice, "scores": {}})
    (path / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for setting, values in right.items():
        known = [math.nan if value is None else value for value in values]
        summary[f"accuracy/{setting}"] = sum(known) / len(known)
    zero_shot, finetuned = (np.array(list(right[name]), float) for name in ("zero_shot", "finetuned"))
    summary["put_right"] = float(((1 - zero_shot) * finetuned).mean())
    (path / "summary.json").write_text(json.dumps(summary))
    return path


SAME = ["a", "b", "b", "c", "d", "e"]  # two queries are alike


def test_the_same_queries_are_paired(tmp_path: Path) -> None:
    right = {"zero_shot": [0, 0, 1, 0, 0, 0], "in_context": [1, 1, 0, 1, 1, 0], "finetuned": [1, 1, 1, 1, 0, 0]}
    one = text_run(tmp_path / "one", right, SAME)
    other = text_run(tmp_path / "other", right | {"in_context": [1, 0, 0, 0, 1, 1]}, SAME)
    found = by_name([one, other])
    assert found["accuracy/in_context"].how == "paired: 6 queries"
    interval = found["accuracy/in_context"].interval
    assert interval is not None
    assert interval.difference == pytest.approx(3 / 6 - 4 / 6)
    assert interval.low < -0.5 < 0.3 < interval.high
    assert found["put_right"].how == "paired: 6 queries"
    assert found["sim_aou"].how == found["rec2ftp"].how == "unpaired: from both intervals"
    assert found["queries_per_second"].how == "no interval: one number each"
    assert not [name for name in found if "layer_" in name or name.endswith("_low")]


def test_queries_that_only_one_saw_are_left_out_and_said(tmp_path: Path) -> None:
    right = {name: [1, 1, 0, 1, 1, 0] for name in ("zero_shot", "in_context", "finetuned")}
    one = text_run(tmp_path / "one", right, SAME)
    other = text_run(tmp_path / "other", {name: values[::-1] for name, values in right.items()}, list("abefgh"))
    found = by_name([one, other])["accuracy/in_context"]
    assert found.how == "paired: the 3 queries that both saw, of 6 and 6"
    assert (found.first, found.second) == pytest.approx((2 / 3, 2 / 3))  # a, b, e: 1, 1, 0 beside 0, 1, 1
    none = text_run(tmp_path / "none", right, list("uvwxyz"))
    assert by_name([one, none])["accuracy/in_context"].how == (
        "unpaired: from both intervals (no query was seen by both)"
    )


def test_answers_that_there_are_not_have_no_interval(tmp_path: Path) -> None:
    right = {"zero_shot": [1] * 6, "in_context": [1] * 6, "finetuned": [1] * 6}
    one = text_run(tmp_path / "one", right, SAME)
    other = text_run(tmp_path / "other", right | {"in_context": [1, None, 1, 1, 1, 1]}, SAME)
    found = by_name([one, other])["accuracy/in_context"]
    assert found[3:] == (None, "no interval: a query has no answer")
    assert math.isnan(found.second)


def test_answers_that_do_not_give_the_summary_are_not_believed(tmp_path: Path) -> None:
    right = {name: [1, 1, 0, 1, 1, 0] for name in ("zero_shot", "in_context", "finetuned")}
    one, other = (text_run(tmp_path / name, right, SAME) for name in ("one", "other"))
    lines = (other / "predictions.jsonl").read_text().splitlines(keepends=True)
    (other / "predictions.jsonl").write_text("".join(lines[:-3]) + '{"control": 3}\n[]\n{')
    assert by_name([one, other])["accuracy/in_context"].how == (
        "unpaired: from both intervals (predictions.jsonl does not give the summary's number)"
    )


def test_what_differs_is_named(tmp_path: Path) -> None:
    other = copy(DEBUG, tmp_path / "other", {"max_steps: 40": "max_steps: 80"})
    environment = json.loads((other / "environment.json").read_text()) | {"commit": "\x1b[2J<script>"}
    (other / "environment.json").write_text(json.dumps(environment))
    comparison = compare_runs([DEBUG, other])
    assert comparison.config == {"trainer.max_steps": [40, 80]}
    assert list(comparison.environment) == ["commit"]


def test_the_command_shows_lines_and_json(cli: Cli, tmp_path: Path) -> None:
    one = copy(DEBUG, tmp_path / "one")
    two = changed(tmp_path / "two", config={"max_steps: 40": "max_steps: 80"})
    three = copy(DEBUG, tmp_path / "three", summary={"loss/nan": math.nan})
    code, out, err = cli("compare", one, two, three)
    assert code == 0
    assert [line.split() for line in out.splitlines() if line.startswith("trainer.max_steps")] == [
        ["trainer.max_steps", "40", "80", "40"]
    ]
    rows = [line for line in out.splitlines() if line.startswith("loss/transformer")]
    assert [row.endswith("paired: 200 tasks") for row in rows] == [True, True]
    assert ["*" in row for row in rows] == [True, False]
    assert f"only {three} has: loss/nan" in err
    code, out, _ = cli("compare", one, three, "--json")
    assert code == 0
    content = json.loads(out)
    ((path, differences),) = content["differences"][0].items()
    assert path == str(three)
    assert {each["name"]: each["how"] for each in differences}["loss/transformer"] == "paired: 200 tasks"


def test_a_narrow_terminal_has_what_the_last_column_says_below() -> None:
    interval = Interval(0.5, 0.25, 0.75)
    differences = [
        Difference("loss/gd", 1.0, 1.5, interval, "paired: 10,000 tasks"),
        Difference("loss/ridge", 1.0, 1.5, None, "no interval: one number each"),
    ]
    comparison = RunComparison([Path("a"), Path("b")], {}, {}, [differences], [])
    wide, narrow, narrower = (comparison_lines(comparison, width) for width in (None, 64, 50))
    assert any(line.endswith("*  paired: 10,000 tasks") for line in wide)
    for lines in (narrow, narrower):
        assert any(line.startswith("loss/gd") and line.endswith("*  paired") for line in lines)
        assert {"paired: 10,000 tasks", "no interval: one number each"} <= set(lines)
    assert [sum("1.5" in line for line in lines) for lines in (narrow, narrower)] == [2, 0]


def test_bad_input_is_one_line(cli: Cli, tmp_path: Path) -> None:
    interrupted = copy(DEBUG, tmp_path / "interrupted")
    (interrupted / "summary.json").unlink()
    (tmp_path / "link").symlink_to(DEBUG)
    for arguments, message in [
        ([DEBUG], "compare needs at least two runs, got 1"),
        ([DEBUG, DEBUG], f"{DEBUG}: given twice"),
        ([DEBUG, tmp_path / "link"], f"{tmp_path / 'link'}: is the same run as {DEBUG}"),
        ([DEBUG, tmp_path / "nowhere"], f"{tmp_path / 'nowhere'}: no such folder"),
        ([DEBUG, interrupted], f"{interrupted}: the run is not complete; continue it with: iclgd resume {interrupted}"),
        (
            [DEBUG, EMBEDDED],
            f"{EMBEDDED}: has experiment: text, but {DEBUG} has experiment: regression; only runs of one experiment "
            "can be compared",
        ),
    ]:
        assert cli("compare", *arguments) == (2, "", f"iclgd: {message}\n")
    with pytest.raises(RunDirectoryError):
        compare_runs([DEBUG, RUNS])
    with pytest.raises(InputError):
        compare_runs([])

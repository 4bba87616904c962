"""Several draws of demonstrations in one run: the numbers are those of runs of one draw each, and their means."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iclgd.runs import compare_runs
from iclgd.runs.run import load_run
from iclgd.tracking.run_directory import RunDirectory
from tests.language_models import save, tiny_model, tiny_tokenizer, write_task

Cli = Callable[..., tuple[int, str, str]]
UNSTEADY = {"queries_per_second", "peak_memory_bytes"}
CONTROLS = "evaluation.controls=[untrained,shuffled_labels]"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("draws")
    save(folder / "gpt2", tiny_model("gpt2"), tiny_tokenizer())
    path = folder / "small.yaml"
    path.write_text(
        f"experiment: text\nmodel: {{name: {folder / 'gpt2'}}}\ntask: {{name: {write_task(folder)}, num_queries: 12}}\n"
        "demonstrations: {num: 4}\nfinetune: {learning_rate: 0.1}\nevaluation: {num_replicates: 20}\n"
        "trainer: {accelerator: cpu}\ntracking: {mode: disabled}\n"
    )
    return path


def ran(cli: Cli, *arguments: object) -> Path:
    code, out, err = cli("run", *arguments)
    assert code == 0, err
    return Path(out.splitlines()[-1])


def test_the_draws_are_those_of_single_runs(cli: Cli, config: Path) -> None:
    singles = [ran(cli, config, CONTROLS, f"demonstrations.seed={seed}") for seed in (3, 4, 5)]
    three, two = (
        ran(cli, config, CONTROLS, "demonstrations.seed=3", f"demonstrations.num_draws={number}", *others)
        for number, others in ((3, []), (2, ["evaluation.batch_size=5"]))
    )
    found, fewer = (load_run(path).summary for path in (three, two))
    expected: list[dict[str, float]] = [load_run(path).summary for path in singles]
    for draw, single in enumerate(expected):
        for name in single.keys() - UNSTEADY:
            assert found[f"draw_{draw:02d}/{name}"] == pytest.approx(single[name], abs=1e-6, nan_ok=True), name
    for name in found.keys() - UNSTEADY:
        if name.startswith(("draw_00/", "draw_01/")):  # however many are at once, and in what batches
            assert fewer[name] == pytest.approx(found[name], abs=1e-5, nan_ok=True), name
    for name in expected[0].keys() - UNSTEADY:
        if not name.endswith(("_low", "_high", "rec2ftp")):
            mean = sum(single[name] for single in expected) / 3
            assert found[name] == pytest.approx(mean, abs=1e-6, nan_ok=True), name
    for prefix in ("", "untrained/", "shuffled_labels/"):
        numbers = [(single[f"{prefix}rec2ftp"], single[f"{prefix}rec2ftp_queries"]) for single in expected]
        put_right = sum(number for _, number in numbers)
        share = sum(value * number for value, number in numbers if number) / put_right if put_right else math.nan
        assert found[f"{prefix}rec2ftp"] == pytest.approx(share, nan_ok=True)
    rows = [json.loads(line) for line in (three / "predictions.jsonl").read_text().splitlines()]
    check_rows(rows, found)
    check_attention(three, singles, found)
    check_comparison(three, two, singles)


def check_rows(rows: list[dict[str, Any]], found: dict[str, float]) -> None:
    assert len(rows) == 3 * 3 * 3 * 12  # draws, controls, settings, queries
    for control in (None, "untrained", "shuffled_labels"):
        for draw in range(3):
            mine = [row for row in rows if (row["control"], row["draw"]) == (control, draw)]
            prefix = f"draw_{draw:02d}/" + (f"{control}/" if control else "")
            alike = [row["likeness"] for row in mine if row["setting"] == "in_context"]
            assert len(alike) == 12
            assert "likeness" not in mine[0]
            for name in ("sim_aou", "sim_am_delta", "kendall", "top_tokens", "update_similarity"):
                mean = sum(each[name] for each in alike) / 12
                assert found[f"{prefix}{name}"] == pytest.approx(mean, abs=1e-6)


def check_attention(three: Path, singles: list[Path], found: dict[str, float]) -> None:
    """The record of a draw is that of its own run, and its sums are the summary's."""
    records = [RunDirectory(path).read_analyses()["attention_to_demonstrations"] for path in (three, *singles)]
    draws, *others = (record["draws"] for record in records)
    assert draws == [draw for (draw,) in others]
    for index, draw in enumerate(draws):
        assert len(draw["labels"]) == 4
        for kind, end in (("attention", ""), ("even", "_even")):
            parts = {name: np.array(shares) for name, shares in draw[kind].items()}
            to_demonstrations = parts.pop("demonstrations")
            assert to_demonstrations.sum(1) + sum(parts.values()) == pytest.approx(1, abs=1e-4)
            for layer, share in enumerate(to_demonstrations.sum(1)):
                name = f"draw_{index:02d}/attention_demonstrations{end}/layer_{layer:02d}"
                assert found[name] == pytest.approx(share, abs=1e-4)


def check_comparison(three: Path, two: Path, singles: list[Path]) -> None:
    (differences,) = compare_runs([three, two]).differences
    found = {each.name: each for each in differences}
    assert not [name for name in found if name.startswith("draw_")]
    for name in ("sim_aou", "accuracy/in_context"):
        assert found[name].how == "paired: 12 queries, 2 draws of demonstrations"
        assert found[name].interval is not None
        assert found[name].interval == pytest.approx((0, 0, 0), abs=1e-5)
    (differences,) = compare_runs(singles[:2]).differences
    sim_aou = next(each for each in differences if each.name == "sim_aou")
    assert sim_aou.how == "paired: 12 queries"
    one, other = (
        np.array([row["likeness"]["sim_aou"] for row in load_run(path).predictions if "likeness" in row])[:12]
        for path in singles[:2]
    )
    assert sim_aou.interval is not None
    assert sim_aou.interval.difference == pytest.approx((other - one).mean(), abs=1e-6)
    (differences,) = compare_runs([singles[2], two]).differences
    assert next(each for each in differences if each.name == "kendall").how == (
        "unpaired: from both intervals (no draw of demonstrations is the same)"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["demonstrations.num_draws=0"], "demonstrations.num_draws must be from 1 to 9223372036854775808, got 0"),
        (
            ["demonstrations.num_draws=2", "demonstrations.selection=first"],
            "demonstrations.num_draws must be 1 with demonstrations.selection=first, which draws nothing, got 2",
        ),
    ],
)
def test_draws_that_cannot_be(cli: Cli, config: Path, overrides: list[str], message: str) -> None:
    code, out, err = cli("run", config, *overrides)
    assert (code, out) == (2, "")
    assert message in err

"""Each rule of a verdict on both sides of its bound."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from iclgd.review.document import Answer, Verdict
from iclgd.review.gather import gather
from iclgd.review.language_verdicts import language_verdicts
from iclgd.review.regression_verdicts import LEAST_COSINE, MOST_DISTANCE, MOST_LOSS_DIFFERENCE, regression_verdicts
from iclgd.review.settings import Setting, settings_of
from iclgd.review.text_verdicts import text_verdicts
from tests.review.factory import make_run

COSINE, DISTANCE, LOSS, GD = (
    "alignment/sensitivity_cosine",
    "alignment/prediction_l2",
    "loss/transformer",
    "loss/gd",
)


def setting(tmp_path: Path, name: str, runs: Sequence[Mapping[str, Any]]) -> Setting:
    """Return the only setting of runs made with these arguments."""
    for place, arguments in enumerate(runs):
        make_run(tmp_path, name, f"run-{place}", **arguments)
    (found,) = settings_of(gather([tmp_path]).runs)
    return found


def of_seeds(
    *summaries: Mapping[str, float], metrics: Sequence[Mapping[str, float]] | None = None
) -> list[dict[str, Any]]:
    alike = {LOSS: 0.2, GD: 0.2, COSINE: 0.999, DISTANCE: 0.02}
    return [
        {"changes": {"seed": seed}, "summary": {**alike, **summary}, "metrics": metrics}
        for seed, summary in enumerate(summaries)
    ]


@pytest.mark.parametrize(
    ("summaries", "answer"),
    [
        ([{}, {}, {}], "like"),
        ([{LOSS: 0.2 * (1 + MOST_LOSS_DIFFERENCE - 1e-6)}] * 3, "like"),
        ([{LOSS: 0.2 * (1 + MOST_LOSS_DIFFERENCE + 1e-6)}] * 3, "unlike"),
        ([{LOSS: 0.2 * (1 - MOST_LOSS_DIFFERENCE - 1e-6)}] * 3, "unlike"),
        ([{COSINE: LEAST_COSINE + 1e-6}] * 3, "like"),
        ([{COSINE: LEAST_COSINE - 1e-6}] * 3, "unlike"),
        ([{DISTANCE: (MOST_DISTANCE - 1e-6) * math.sqrt(0.4)}] * 3, "like"),
        ([{DISTANCE: (MOST_DISTANCE + 1e-6) * math.sqrt(0.4)}] * 3, "unlike"),
        ([{COSINE: 0.985}, {COSINE: 0.999}, {COSINE: 0.97}], "cannot say"),  # over the bound
        ([{}], "cannot say"),  # one seed
        ([{}, {LOSS: math.nan}, {}], "cannot say"),
        ([{}, {COSINE: math.inf}, {}], "cannot say"),
        ([{GD: 0.0}] * 3, "cannot say"),
    ],
)
def test_regression(tmp_path: Path, summaries: list[dict[str, float]], answer: Answer) -> None:
    (verdict,) = regression_verdicts(setting(tmp_path, "one_layer", of_seeds(*summaries)))
    assert verdict.answer == answer, verdict.sentence
    assert "nan [" not in verdict.sentence
    assert verdict.question == "Is the trained transformer like gradient descent?"


def test_a_transformer_that_was_alike_before_training_is_not_told_from_its_control(tmp_path: Path) -> None:
    metrics = [{"step": 0, COSINE: 0.999, LOSS: 0.2}]
    (verdict,) = regression_verdicts(setting(tmp_path, "one_layer", of_seeds({}, {}, {}, metrics=metrics)))
    assert verdict.answer == "not told from its control"


def test_without_the_weights_before_training_there_is_no_verdict(tmp_path: Path) -> None:
    (verdict,) = regression_verdicts(setting(tmp_path, "one_layer", of_seeds({}, {}, {}, metrics=[{"step": 20}])))
    assert verdict.answer == "cannot say"
    assert "was not recorded" in verdict.sentence


def test_the_interval_of_a_ratio_is_students(tmp_path: Path) -> None:
    losses = [0.2004, 0.2011, 0.2002]
    (verdict,) = regression_verdicts(setting(tmp_path, "one_layer", of_seeds(*({LOSS: loss} for loss in losses))))
    ratios = np.array(losses) / 0.2
    low, high = stats.t.interval(0.95, 2, ratios.mean(), stats.sem(ratios))
    assert f"[{low:.3f}, {high:.3f}]" in verdict.sentence, verdict.sentence


def test_several_references_and_seeds_of_one_run(tmp_path: Path) -> None:
    found = setting(tmp_path, "two_layer", [{"changes": {"training.num_seeds": 3}}])
    gd, gd_plus_plus = regression_verdicts(found)
    assert (gd.answer, gd_plus_plus.answer) == ("unlike", "like"), (gd.sentence, gd_plus_plus.sentence)
    assert "GD++" in gd_plus_plus.question
    assert "over 3 seeds" in gd.sentence


def algorithm(learner: str, is_near: bool, distance: float = 0.1) -> dict[str, Any]:
    return {
        "layer": 1,
        "learner": learner,
        "is_near": is_near,
        "nearest": "gd(1)",
        "distance": distance,
        "sensitivity_norm": 2.0,
    }


@pytest.mark.parametrize(
    ("records", "answer"),
    [
        ([algorithm("gd(1)", True)] * 2, "like"),
        ([algorithm("gd(1)", True), algorithm("ridge(1)", True)], "cannot say"),
        ([algorithm("none is near", False)] * 2, "unlike"),
        ([algorithm("gd(1)", True), algorithm("none is near", False)], "cannot say"),
        ([algorithm("gd(1)", True, math.nan)] * 2, "cannot say"),
        ([algorithm("gd(1)", True)], "cannot say"),
    ],
)
def test_which_algorithm(tmp_path: Path, records: list[dict[str, Any]], answer: Answer) -> None:
    seeds = [{"seed": seed, "verdicts": [record]} for seed, record in enumerate(records)]
    analyses = {"which_algorithm": {"seeds": seeds}}
    found = setting(tmp_path, "one_layer", [{"changes": {"training.num_seeds": len(records)}, "analyses": analyses}])
    _, verdict = regression_verdicts(found)
    assert verdict.answer == answer, verdict.sentence


@pytest.mark.parametrize("record", [{}, {"seeds": 3}, {"seeds": [{"verdicts": "x"}]}, {"seeds": [None]}])
def test_a_record_of_another_shape_has_no_verdict(tmp_path: Path, record: dict[str, Any]) -> None:
    assert len(regression_verdicts(setting(tmp_path, "one_layer", [{"analyses": {"which_algorithm": record}}]))) == 1


def interval(name: str, value: float, half: float = 0.02) -> dict[str, float]:
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def of_text(**changes: Any) -> dict[str, Any]:
    return {"changes": {"evaluation.controls": ["untrained"], **changes.pop("config", {})}, **changes}


def sim_aou(verdicts: Sequence[Verdict]) -> Verdict:
    return verdicts[0]


@pytest.mark.parametrize(
    ("summary", "controls", "answer"),
    [
        ({}, ["untrained"], "like"),
        ({}, ["untrained", "shuffled_labels", "other_task"], "like"),
        ({}, [], "cannot say"),
        (interval("untrained/sim_aou", 0.559), ["untrained"], "like"),
        (interval("untrained/sim_aou", 0.561), ["untrained"], "not told from its control"),
        (interval("untrained/sim_aou", 0.9), ["untrained"], "not told from its control"),
        (interval("sim_aou_random", 0.559), ["untrained"], "like"),
        (interval("sim_aou_random", 0.561), ["untrained"], "unlike"),
        ({"sim_aou": math.nan}, ["untrained"], "cannot say"),
        ({"untrained/sim_aou": math.nan}, ["untrained"], "cannot say"),
        ({"untrained/sim_aou_high": None}, ["untrained"], "cannot say"),
        ({"sim_aou_random": None}, ["untrained"], "cannot say"),
    ],
)
def test_text_of_one_draw(
    tmp_path: Path, summary: dict[str, float | None], controls: list[str], answer: Answer
) -> None:
    ours = {
        **interval("sim_aou", 0.6),
        **interval("untrained/sim_aou", 0.3),
        **interval("sim_aou_random", 0.0),
        **summary,
    }
    run = {"changes": {"evaluation.controls": controls}, "summary": ours}
    verdict = sim_aou(text_verdicts(setting(tmp_path, "embedded", [run])))
    assert verdict.answer == answer, verdict.sentence
    assert "one draw" in verdict.sentence or "not a finite number" in verdict.sentence


@pytest.mark.parametrize(
    ("controls", "answer"),
    [
        ([0.5, 0.6, 0.4], "like"),  # ours are always 0.1 above, though intervals of both overlap widely
        ([0.5, 0.6, 0.8], "not told from its control"),
        ([0.5, 0.6, math.nan], "cannot say"),
    ],
)
def test_text_of_several_draws_is_paired(tmp_path: Path, controls: list[float], answer: Answer) -> None:
    noise = [0.0, 0.001, 0.002]
    runs = [
        {
            "changes": {"evaluation.controls": ["untrained"], "demonstrations.seed": draw},
            "summary": {"sim_aou": value + 0.1 + noise[draw], "untrained/sim_aou": control},
        }
        for draw, (value, control) in enumerate(zip([0.5, 0.6, 0.4], controls, strict=True))
    ]
    found = setting(tmp_path, "embedded", runs)
    verdict = sim_aou(text_verdicts(found))
    assert verdict.answer == answer, verdict.sentence
    if answer == "like":
        low, high = stats.t.interval(0.95, 2, np.mean(noise) + 0.1, stats.sem(noise))
        assert f"[{low:.4f}, {high:.4f}]" in verdict.sentence, verdict.sentence


def test_seeds_of_one_draw_are_no_repetitions_of_it(tmp_path: Path) -> None:
    found = setting(tmp_path, "embedded", [{"changes": {"seed": seed}} for seed in range(3)])
    assert len(found.repetitions) == 1
    assert len(found.repeated) == 2
    assert "one draw" in text_verdicts(found)[0].sentence


def test_all_measures_have_verdicts_and_rec2ftp_is_held_against_chance(tmp_path: Path) -> None:
    verdicts = text_verdicts(setting(tmp_path, "embedded", [{}]))
    assert [verdict.answer for verdict in verdicts] == ["like", "like", "like", "like"]
    assert "answers at random: 25 " in verdicts[-1].sentence  # four answers


def test_rec2ftp_without_a_query_that_finetuning_puts_right_cannot_be_said(tmp_path: Path) -> None:
    *_, verdict = text_verdicts(setting(tmp_path, "embedded", [{"summary": {"rec2ftp": math.nan}}]))
    assert verdict.answer == "cannot say"
    assert "nothing was put right" in verdict.sentence


def test_finetuning_that_has_not_helped_is_said(tmp_path: Path) -> None:
    run = {"summary": interval("accuracy/finetuned", 0.6, 0.05)}
    assert "not told to be better than zero-shot" in text_verdicts(setting(tmp_path, "embedded", [run]))[0].sentence


def test_language_modelling_says_what_it_can(tmp_path: Path) -> None:
    found = setting(tmp_path, "embedded_model", [{"changes": {"seed": seed}} for seed in range(2)])
    (verdict,) = language_verdicts(found)
    assert verdict.answer == "cannot say"
    assert "0.38" in verdict.sentence
    assert "no likeness" in verdict.sentence
    broken = setting(tmp_path / "x", "embedded_model", [{"summary": {"accuracy/0_demonstrations": math.nan}}])
    assert "not finite" in language_verdicts(broken)[0].sentence

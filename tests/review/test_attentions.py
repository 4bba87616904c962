"""Momentum beside plain attention: who is compared with whom, what is said, and what is drawn, by made numbers."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from iclgd.review.attention_verdicts import attention_table, attention_verdicts
from iclgd.review.attentions import Comparison, comparisons_of
from iclgd.review.charts import attention_charts
from iclgd.review.contents import make_review
from iclgd.review.document import Answer, Plot
from iclgd.review.gather import gather
from iclgd.review.settings import settings_of
from tests.review.factory import make_run

PLAIN = {"model.attention": "softmax", "model.momentum": 0.9}  # which has no part in it
MOMENTUM = {"model.attention": "momentum", "model.momentum": 0.9}
PERPLEXITIES = ([8.0, 9.0, 7.0, 8.5], [7.5, 8.4, 6.6, 8.0])  # of plain attention and of momentum, by seed


def make(root: Path, changes: Mapping[str, Any], perplexity: float, **numbers: float) -> None:
    """Write a run of a language model with a perplexity, and accuracies that are better the lower that is."""
    accuracy = 1 - perplexity / 20
    summary = {
        "val/loss": math.log(perplexity) if perplexity > 0 else perplexity,
        "val/perplexity": perplexity,
        "val/perplexity/32_tokens": perplexity + 1,
        "val/perplexity/64_tokens": perplexity,
        "accuracy/few_shot": accuracy,
        "accuracy/16_demonstrations": accuracy,
        **numbers,
    }
    run_id = f"run-{len([*root.glob('*/*')])}"
    make_run(root, "few_shot", run_id, config="embedded_model", changes=changes, summary=summary)


def make_all(root: Path, *groups: tuple[Mapping[str, Any], Sequence[float]]) -> None:
    for changes, perplexities in groups:
        for seed, perplexity in enumerate(perplexities):
            make(root, {**changes, "seed": seed}, perplexity)


def compared(root: Path) -> list[Comparison]:
    found, _ = comparisons_of(settings_of(gather([root]).runs))
    return found


@pytest.mark.parametrize(
    ("plain", "momentum", "answers"),
    [
        (*PERPLEXITIES, ["lower perplexity", "better in context"]),
        (*reversed(PERPLEXITIES), ["higher perplexity", "worse in context"]),
        ([8.0, 9.0, 7.0], [7.0, 9.5, 7.2], ["not told from plain"] * 2),
        ([8.0, 9.0], [8.0, 9.0], ["not told from plain"] * 2),
        ([8.0], [7.0], ["cannot say"] * 2),  # one seed
        ([8.0, 9.0], [7.0, math.inf], []),  # diverged: no learning rate is left
    ],
)
def test_verdicts(tmp_path: Path, plain: list[float], momentum: list[float], answers: list[Answer]) -> None:
    make_all(tmp_path, (PLAIN, plain), (MOMENTUM, momentum))
    verdicts = [each for comparison in compared(tmp_path) for each in attention_verdicts(comparison)]
    assert [verdict.answer for verdict in verdicts] == answers
    assert not [verdict for verdict in verdicts if "nan" in verdict.sentence]


def test_intervals_of_differences_are_students_over_pairs(tmp_path: Path) -> None:
    make_all(tmp_path, (PLAIN, PERPLEXITIES[0]), (MOMENTUM, PERPLEXITIES[1]))
    (comparison,) = compared(tmp_path)
    differences = np.subtract(*reversed(PERPLEXITIES))
    low, high = stats.t.interval(0.95, 3, differences.mean(), stats.sem(differences))
    verdict, _ = attention_verdicts(comparison)
    assert f"{differences.mean():.3f} [{low:.2f}, {high:.2f}], paired over 4 seeds" in verdict.sentence
    (row,) = [row for row in attention_table(comparison).rows if row[:2] == ["val/perplexity", "momentum 0.9"]]
    assert row[-1] == pytest.approx((differences.mean(), low, high))
    chart = attention_charts(comparison)[0]
    panel = chart.panels[1]
    assert isinstance(panel, Plot)
    (line,) = panel.series
    assert line.x == [32, 64]
    assert (line.y[1], line.low[1], line.high[1]) == pytest.approx((differences.mean(), low, high), rel=1e-5)


def test_only_seeds_that_both_have_are_pairs(tmp_path: Path) -> None:
    make_all(tmp_path, (PLAIN, [8.0, 9.0, 7.0]), (MOMENTUM, [7.5, 8.5]))
    (comparison,) = compared(tmp_path)
    assert attention_verdicts(comparison)[0].sentence.count("paired over 2 seeds") == 1


def test_each_attention_has_its_best_learning_rate_of_those_that_all_were_tried_with(tmp_path: Path) -> None:
    rate = "training.learning_rate"
    make_all(
        tmp_path,
        ({**PLAIN, rate: 0.001}, [8.0, 8.0]),
        ({**PLAIN, rate: 0.003}, [9.0, 9.0]),
        ({**PLAIN, rate: 0.01}, [1.0, 1.0]),  # momentum was not tried with that
        ({**MOMENTUM, rate: 0.001}, [8.5, 8.5]),
        ({**MOMENTUM, rate: 0.003}, [7.0, 7.2]),
    )
    (comparison,) = compared(tmp_path)
    assert [(each.label, each.rate) for each in comparison.attentions] == [("plain", 0.001), ("momentum 0.9", 0.003)]
    sentence = attention_verdicts(comparison)[0].sentence
    assert "each at its own learning rate of 2" in sentence
    assert "0.001 (plain) and 0.003 (momentum 0.9)" in sentence


def test_a_learning_rate_at_which_a_run_diverged_is_not_chosen(tmp_path: Path) -> None:
    rate = "training.learning_rate"
    for attention in (PLAIN, MOMENTUM):
        make_all(tmp_path, ({**attention, rate: 0.001}, [8.0, 8.0]), ({**attention, rate: 0.003}, [2.0, math.nan]))
    (comparison,) = compared(tmp_path)
    assert {each.rate for each in comparison.attentions} == {0.001}


def test_without_momentum_attention_is_plain_whatever_computes_it(tmp_path: Path) -> None:
    make_all(tmp_path, ({**MOMENTUM, "model.momentum": 0.0}, [8.0, 9.0]), (MOMENTUM, [7.0, 8.1]))
    (comparison,) = compared(tmp_path)
    assert [each.label for each in comparison.attentions] == ["plain", "momentum 0.9"]


def test_models_that_differ_in_more_are_not_compared(tmp_path: Path) -> None:
    make_all(tmp_path, (PLAIN, [8.0, 9.0]), ({**MOMENTUM, "model.num_layers": 7}, [7.0, 8.1]))
    assert compared(tmp_path) == []


def test_the_section_of_such_runs_has_verdicts_table_and_charts(tmp_path: Path) -> None:
    half = {**MOMENTUM, "model.momentum": 0.5}
    make_all(tmp_path, (PLAIN, PERPLEXITIES[0]), (half, PERPLEXITIES[0]), (MOMENTUM, PERPLEXITIES[1]))
    (section,) = make_review([tmp_path]).sections
    assert [verdict.answer for verdict in section.verdicts[:4]] == [
        "not told from plain",
        "not told from plain",
        "lower perplexity",
        "better in context",
    ]
    assert section.tables[0].title == "Momentum attention beside plain"
    names = [chart.name for chart in section.charts]
    assert names[:2] == ["momentum_perplexity", "momentum_accuracy"]
    assert {"learning_to_learn", "perplexity_by_length"} <= {*names}


def test_attentions_without_a_learning_rate_in_common_are_said(tmp_path: Path) -> None:
    rate = "training.learning_rate"
    make_all(tmp_path, ({**PLAIN, rate: 0.001}, [8.0, 9.0]), ({**MOMENTUM, rate: 0.003}, [7.0, 8.0]))
    (section,) = make_review([tmp_path]).sections
    assert any("no learning rate that all were tried with" in line for line in section.left_out)


def test_text_runs_of_the_trained_models_are_paired_by_the_seeds_of_training(tmp_path: Path) -> None:
    make_all(tmp_path, (PLAIN, [8.0, 9.0]), (MOMENTUM, [8.0, 9.0]))
    accuracies = [0.5, 0.6, 0.7, 0.81]  # of plain and of momentum with seeds 0 and 1
    for place, accuracy in enumerate(accuracies):
        for draw, shift in enumerate((-0.1, 0.1)):
            changes = {"model.name": f"runs/few_shot/run-{place}/model", "demonstrations.seed": draw}
            summary = {"accuracy/in_context": accuracy + shift}
            make_run(tmp_path, "sst2", f"text-{place}-{draw}", config="embedded", changes=changes, summary=summary)
    section = next(each for each in make_review([tmp_path]).sections if each.title == "few_shot")
    (verdict,) = [each for each in section.verdicts if "in-context accuracy on sst2" in each.question]
    low, high = stats.t.interval(0.95, 1, 0.205, stats.sem([0.2, 0.21]))
    assert verdict.answer == "better in context"
    assert f"0.205 [{low:.2f}, {high:.2f}], paired over 2 seeds" in verdict.sentence, verdict.sentence

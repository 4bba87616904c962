import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats

from iclgd.data import LinearRegressionTask
from iclgd.models import gradient_descent_transformer
from iclgd.models.learners import best_learning_rate
from iclgd.report.comparisons import Estimate
from iclgd.reproduce.paper import Claim, Plan, read
from iclgd.reproduce.quantities import Quantity
from iclgd.reproduce.verdicts import Evidence, Verdict, decided, judge
from iclgd.shipped import names
from iclgd.sweeps.progress.settings import Row
from tests.reproduce.toy import evidence

FULL = Plan("full", "All.", [])
QUICK = Plan("quick", "Little.", [], quick=True)
COSINE = Claim("alike", "Alike.", "runs", "alignment/sensitivity_cosine", at_least=0.98)


def claim_of(paper: str, name: str) -> Claim:
    (found,) = [claim for claim in read(names("paper")[paper]).claims if claim.name == name]
    return found


def judged(claim: Claim, found: Evidence | None, plan: Plan = FULL) -> Verdict:
    return judge(claim, plan, found)


@pytest.mark.parametrize(
    ("bounds", "interval", "answer"),
    [
        ({"at_least": 0.98}, (0.99, 0.98, 1.0), "reproduced"),
        ({"at_least": 0.98}, (0.97, 0.96, 0.9799), "not reproduced"),
        ({"at_least": 0.98}, (0.99, 0.97, 1.01), "cannot say"),
        ({"above": 0.0}, (0.0, 0.0, 0.0), "not reproduced"),
        ({"above": 0.0}, (0.1, 0.0, 0.2), "cannot say"),
        ({"below": 0.0}, (-0.1, -0.2, -0.01), "reproduced"),
        ({"below": 0.0}, (0.0, 0.0, 0.0), "not reproduced"),
        ({"at_least": 0.95, "at_most": 1.05}, (1.0, 0.96, 1.04), "reproduced"),
        ({"at_least": 0.95, "at_most": 1.05}, (1.2, 1.1, 1.3), "not reproduced"),
        ({"at_least": 0.95, "at_most": 1.05}, (1.0, 0.5, 1.5), "cannot say"),
        ({"at_most": 5.0}, (math.nan, math.nan, math.nan), "cannot say"),
        ({"at_most": 5.0}, (1.0, math.nan, math.nan), "cannot say"),
        ({"at_least": 5.0}, (math.inf, math.inf, math.inf), "cannot say"),
        ({"at_most": 5.0}, (1.0, -math.inf, math.inf), "cannot say"),
    ],
)
def test_the_whole_interval_decides(bounds: dict[str, float], interval: tuple[float, ...], answer: str) -> None:
    claim = Claim("a", "A.", "runs", "loss", **bounds)
    assert decided(claim, Quantity(Estimate(*interval), 3, "seed"))[0] == answer
    assert decided(claim, Quantity(Estimate(*interval), 1, "seed"))[0] == "cannot say"


def test_a_ratio_is_that_of_each_seed_and_its_interval_that_of_student(tmp_path: Path) -> None:
    ours, gd = [0.21, 0.2, 0.205], [0.2, 0.202, 0.207]
    found = evidence(tmp_path, [{"loss/transformer": a, "loss/gd": b} for a, b in zip(ours, gd, strict=True)])
    verdict = judged(replace(claim_of("vonoswald2023", "one_layer_loss"), at_least=0.9, at_most=1.1), found)
    ratios = [a / b for a, b in zip(ours, gd, strict=True)]
    low, high = stats.t.interval(0.95, 2, sum(ratios) / 3, stats.sem(ratios))
    assert verdict.quantity is not None
    assert verdict.quantity.estimate == pytest.approx((sum(ratios) / 3, low, high))
    assert verdict.answer == "reproduced"
    assert verdict.quantity.runs == ("abc-0000", "abc-0001", "abc-0002")
    assert "at least 0.9 and at most 1.1" in verdict.sentence
    assert "Printed: 1.0026" in verdict.sentence


def losses_of_gd(factor: float) -> list[dict[str, float]]:
    """Return for three seeds the loss of the best step, as a trained layer has it, beside that of a longer one."""
    task, found = LinearRegressionTask(), []
    for seed in range(3):
        batch = task.sample(2000, torch.Generator().manual_seed(seed), torch.float64)
        rate = best_learning_rate(*batch, num_steps=1).learning_rate
        losses = []
        for each in (rate, factor * rate):
            model = gradient_descent_transformer(task.input_dim, 1, each).double()
            losses.append(0.5 * ((model(batch.x, batch.y, batch.query) - batch.target) ** 2).mean().item())
        found.append({"loss/transformer": 1.0004 * losses[0], "loss/gd": losses[1]})
    return found


@pytest.mark.parametrize(("factor", "answer"), [(1.0, "reproduced"), (2.0, "not reproduced"), (0.3, "not reproduced")])
def test_gradient_descent_with_a_wrong_learning_rate_is_not_what_a_layer_does(
    tmp_path: Path, factor: float, answer: str
) -> None:
    found = evidence(tmp_path, losses_of_gd(factor))
    assert judged(claim_of("vonoswald2023", "one_layer_loss"), found).answer == answer


def test_untrained_weights_are_not_gradient_descent(tmp_path: Path) -> None:
    untrained = {"loss/transformer": 0.42, "alignment/sensitivity_cosine": 0.02, "alignment/sensitivity_l2": 2.1}
    numbers = [
        {**untrained, "alignment/prediction_l2": 0.6, "loss/interpolated": 0.3 + 0.01 * seed} for seed in (0, 1, 2)
    ]
    found = evidence(tmp_path, numbers)
    of_figure = ("loss", "cosine", "sensitivity_distance", "prediction_distance", "interpolated")
    answers = {name: judged(claim_of("vonoswald2023", f"one_layer_{name}"), found).answer for name in of_figure}
    assert answers == dict.fromkeys(of_figure, "not reproduced")


def draws(numbers: dict[str, list[float]]) -> dict[str, float]:
    """Return a summary with a number for each draw, and their means."""
    found = {name: math.fsum(values) / len(values) for name, values in numbers.items()}
    return found | {
        f"draw_{draw:02}/{name}": value for name, values in numbers.items() for draw, value in enumerate(values)
    }


TEXT = {"demonstrations.num_draws": 3, "evaluation.controls": []}


@pytest.mark.parametrize(
    ("in_context", "answer"),
    [([0.95, 0.97, 0.96], "reproduced"), ([0.31, 0.28, 0.3], "not reproduced"), ([0.9, 0.4, 0.6], "cannot say")],
)
def test_shuffled_labels_teach_nothing(tmp_path: Path, in_context: list[float], answer: str) -> None:
    numbers = draws({"accuracy/in_context": in_context, "accuracy/zero_shot": [0.6, 0.6, 0.6]})
    found = evidence(tmp_path, [numbers], config="embedded", values=[{"task.name": "embedded", **TEXT}])
    verdict = judged(claim_of("dai2023", "in_context_accuracy"), found)
    assert verdict.answer == answer
    assert verdict.quantity is not None
    assert verdict.quantity.what == "draw"


def test_of_one_draw_nothing_is_said(tmp_path: Path) -> None:
    values = {"task.name": "embedded", "demonstrations.num_draws": 1}
    found = evidence(tmp_path, [{"rec2ftp": 99.0}], config="embedded", values=[values])
    verdict = judged(claim_of("dai2023", "rec2ftp"), found)
    assert (verdict.answer, verdict.why) == ("cannot say", "one draw tells nothing of another")


def test_of_several_tasks_the_mean_decides(tmp_path: Path) -> None:
    tasks = ("embedded", "embedded_two")
    numbers = [
        draws({"sim_am": values, "sim_am_zero_shot": [0.7, 0.7, 0.7]})
        for values in ([0.8, 0.81, 0.79], [0.72, 0.74, 0.73])
    ]
    found = evidence(tmp_path, numbers, config="embedded", values=[{"task.name": task, **TEXT} for task in tasks])
    verdict = judged(claim_of("dai2023", "sim_am"), found)
    assert verdict.answer == "reproduced"
    assert verdict.quantity is not None
    assert verdict.quantity.estimate.value == pytest.approx(0.065)
    half = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)  # of each task; they are independent
    assert verdict.quantity.estimate.low == pytest.approx(0.065 - math.sqrt(2) * half / 2)
    assert len(verdict.quantity.parts) == 2
    nothing = {**numbers[1], "draw_01/sim_am": math.nan, "sim_am": math.nan}
    changed = evidence(
        tmp_path / "b", [numbers[0], nothing], config="embedded", values=[{"task.name": task, **TEXT} for task in tasks]
    )
    assert judged(claim_of("dai2023", "sim_am"), changed).answer == "cannot say"


def test_two_settings_are_compared_draw_by_draw(tmp_path: Path) -> None:
    methods = {"gradient_descent": [0.1, 0.3, 0.2], "layer_causal": [0.15, 0.36, 0.25]}
    numbers = [draws({"sim_aou": values}) for values in methods.values()]
    values = [{"finetune.method": method, **TEXT} for method in methods]
    found = evidence(tmp_path, numbers, config="embedded", values=values)
    verdict = judged(claim_of("deutch2024", "layer_causal_sim_aou"), found)
    assert verdict.answer == "reproduced"
    assert verdict.quantity is not None
    assert verdict.quantity.estimate.value == pytest.approx(0.16 / 3)
    low, _ = stats.t.interval(0.95, 2, 0.16 / 3, stats.sem([0.05, 0.06, 0.05]))
    assert verdict.quantity.estimate.low == pytest.approx(low)
    # The other way round it is not so.
    other = [{"finetune.method": method, **TEXT} for method in reversed(methods)]
    turned = evidence(tmp_path / "b", numbers, config="embedded", values=other)
    assert judged(claim_of("deutch2024", "layer_causal_sim_aou"), turned).answer == "not reproduced"


def test_each_side_has_the_learning_rate_that_is_best_for_it(tmp_path: Path) -> None:
    losses = {(0.0, 0.001): 3.0, (0.0, 0.002): 2.0, (0.5, 0.001): 1.9, (0.5, 0.002): 4.0}
    values: list[dict[str, Any]] = [
        {"model.attention": "momentum", "model.momentum": momentum, "training.learning_rate": rate, "seed": seed}
        for momentum, rate in losses
        for seed in (0, 1, 2)
    ]
    numbers = [
        {"val/loss": losses[each["model.momentum"], each["training.learning_rate"]] + 0.001 * each["seed"]}
        for each in values
    ]
    found = evidence(tmp_path, numbers, config="embedded_model", values=values)
    claim = replace(claim_of("dai2023", "momentum_loss"), than=["model.momentum=0.0"])
    verdict = judged(claim, found)
    assert verdict.answer == "reproduced"
    assert verdict.quantity is not None
    assert verdict.quantity.estimate.value == pytest.approx(-0.1)


RECORD = {"losses": {"transformer": [[0.4, 0.21]], "gd": [[0.4, 0.2]]}}


def test_curves_are_held_against_each_other_where_they_differ_most(tmp_path: Path) -> None:
    shift = {
        "input_range": {"values": [0.5, 1, 2], "losses": {"transformer": [[0.2, 0.2, 1.0]], "gd": [[0.21, 0.2, 2.0]]}}
    }
    found = evidence(tmp_path, [{}] * 3, analyses=[{"iterated": RECORD, "out_of_distribution": shift}] * 3)
    iterated = judged(claim_of("vonoswald2023", "iterated_like_gd"), found)
    assert iterated.quantity is not None
    assert iterated.quantity.estimate.value == pytest.approx(1.05)
    shifted = judged(claim_of("vonoswald2023", "one_layer_input_range"), found)
    assert shifted.answer == "not reproduced"
    assert shifted.quantity is not None
    assert shifted.quantity.estimate.value == 0.5


@pytest.mark.parametrize(
    "record",
    [{}, {"losses": {"transformer": [[1.0]]}}, {"losses": {"transformer": [1.0], "gd": [1.0]}}, {"losses": 3}],
)
def test_an_analysis_of_another_shape_decides_nothing(tmp_path: Path, record: dict[str, Any]) -> None:
    found = evidence(tmp_path, [{}] * 2, analyses=[{"iterated": record}] * 2)
    verdict = judged(claim_of("vonoswald2023", "iterated_like_gd"), found)
    assert verdict.answer == "cannot say"
    assert "has no points of transformer and gd" in verdict.why


def test_what_was_not_recorded_is_never_reproduced(tmp_path: Path) -> None:
    found = evidence(tmp_path, [{}, {"alignment/sensitivity_cosine": None}, {}])
    verdict = judged(COSINE, found)
    assert verdict.answer == "cannot say"
    assert "alignment/sensitivity_cosine was not recorded by abc-0001" in verdict.why


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_never_reproduced(tmp_path: Path, value: float) -> None:
    found = evidence(tmp_path, [{}, {"alignment/sensitivity_cosine": value}, {}])
    verdict = judged(COSINE, found)
    assert (verdict.answer, verdict.why) == ("cannot say", "it is not a finite number in every run")
    assert verdict.as_json()["value"] is None


def test_one_seed_is_never_enough(tmp_path: Path) -> None:
    verdict = judged(COSINE, evidence(tmp_path, [{}]))
    assert (verdict.answer, verdict.why) == ("cannot say", "one seed tells nothing of another")


def test_runs_that_failed_leave_a_claim_open(tmp_path: Path) -> None:
    whole = evidence(tmp_path, [{}] * 3)
    assert judged(COSINE, whole).answer == "reproduced"
    failed = Row(3, {"seed": 3}, None, "failed", None, "out of memory")
    verdict = judged(COSINE, Evidence([*whole.rows, failed], whole.runs))
    assert verdict.answer == "cannot say"
    assert verdict.why == "1 of its 4 runs are not done (failed: out of memory)"
    assert verdict.as_json()["runs"] == []


def test_runs_that_were_not_made_leave_a_claim_open(tmp_path: Path) -> None:
    assert judged(COSINE, None).why == "the plan full has no runs of it"
    assert judged(COSINE, Evidence(problem="no space")).why == "its runs were not made: no space"
    gone = evidence(tmp_path, [{}] * 2)
    assert judged(COSINE, Evidence(gone.rows, gone.runs[:1])).why == "of its 2 runs not all can be read"
    nobody = judged(replace(COSINE, where=["seed=9"]), gone)
    assert nobody.why == "the sweep has no run with seed=9"


def test_the_quick_plan_says_what_it_cannot_show(tmp_path: Path) -> None:
    claim = replace(COSINE, not_quick="it has too few steps")
    found = evidence(tmp_path, [{}] * 3)
    assert judged(claim, found).answer == "reproduced"
    verdict = judged(claim, found, QUICK)
    assert (verdict.answer, verdict.why) == ("cannot say", "the quick plan cannot show it: it has too few steps")

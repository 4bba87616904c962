"""Distances to ridge and dMMSE, and tasks between two of the pool."""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from iclgd.analysis.every_position.interpolated_tasks import SHARES, interpolate, interpolated_tasks
from iclgd.analysis.every_position.optimal import optimal_learners
from iclgd.analysis.every_position.subject import MODEL, FunctionSubject
from iclgd.analysis.every_position.task_diversity import distances_of, task_diversity
from iclgd.data.functions import NoisyLinearFunctionTask
from iclgd.models.every_position import EveryPositionLearner
from iclgd.models.learners import Ridge
from tests.analysis.every_position.models import POOL, own
from tests.fixtures import assert_close
from tests.function_references import arrays


class Zero(EveryPositionLearner):
    def _predict(self, x: Tensor, y: Tensor, query: Tensor, positions: list[int]) -> Tensor:
        return torch.zeros(len(x), len(positions))


class Middle(EveryPositionLearner):
    """Half way between two learners."""

    def _predict(self, x: Tensor, y: Tensor, query: Tensor, positions: list[int]) -> Tensor:
        return sum(own(name).at_every_position(x, y, query, positions) for name in ("ridge", "dmmse")) / 2


def measured(model: EveryPositionLearner, num_prompts: int = 400):  # type: ignore[no-untyped-def]
    tasks = {"": POOL, "new_functions/": replace(POOL, num_tasks=0)}
    batches = {name: task.sample(num_prompts, torch.Generator().manual_seed(1)) for name, task in tasks.items()}
    record = task_diversity(model, optimal_learners(POOL), batches, seed=0, num_resamples=50)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    return record, distances_of(record)


@pytest.mark.parametrize("name", ["ridge", "dmmse"])
def test_an_optimal_learner_has_no_distance_to_itself(name: str) -> None:
    _, numbers = measured(own(name))
    for prefix in ("", "new_functions/"):
        assert numbers[f"{prefix}distance/{name}"] == numbers[f"{prefix}distance/{name}_high"] == 0
        other, sign = ("dmmse", 1) if name == "ridge" else ("ridge", -1)
        distance = numbers[f"{prefix}distance/{other}"]
        assert distance > 0
        assert numbers[f"{prefix}distance/difference"] == pytest.approx(sign * distance)


def test_half_way_between_both_is_as_near_to_each() -> None:
    _, numbers = measured(Middle())
    for prefix in ("", "new_functions/"):
        assert numbers[f"{prefix}distance/ridge"] == pytest.approx(numbers[f"{prefix}distance/dmmse"], rel=1e-5)
        low, high = (numbers[f"{prefix}distance/difference_{end}"] for end in ("low", "high"))
        assert low <= 0 <= high or max(abs(low), abs(high)) < 1e-6


def test_errors_and_distances_without_examples_have_a_closed_form() -> None:
    # Ridge predicts 0 there, dMMSE the mean of the pool; a new function has E (w x)^2 / D = 1.
    record, _ = measured(Zero(), 4000)
    pool = POOL.pool().weight
    for found in record["of_tasks"]:
        first = {name: values["mean"][0] for name, values in found["errors"].items()}
        expected = pool.square().sum(1).mean().item() / 3 if not found["prefix"] else 1.0
        assert first[MODEL] == first["ridge"] == pytest.approx(expected, rel=0.1)
        assert found["distances"]["ridge"]["mean"][0] == 0
        of_mean = pool.mean(0).square().sum().item() / 3
        assert found["distances"]["dmmse"]["mean"][0] == pytest.approx(of_mean, rel=0.1)
        whole = found["errors"]["ridge"]["all_positions"]
        assert whole["mean"][0] == pytest.approx(sum(found["errors"]["ridge"]["mean"]) / 7)
        assert whole["low"][0] < whole["mean"][0] < whole["high"][0]


def test_the_distance_of_ridge_to_dmmse_is_the_published_one() -> None:
    stored = arrays("D1_regression_a")
    noise, pool = stored["noise_scale"].item(), stored["task_pool"].squeeze(-1)
    group = next(key.removesuffix(".xs") for key in stored if key.endswith(".xs"))
    x, y, oracle = (stored[f"{group}.{key}"] for key in ("xs", "ys", "oracle"))
    task = NoisyLinearFunctionTask(input_dim=x.shape[2], noise_std=noise, num_tasks=len(pool))
    batch = task.sample(1, torch.Generator())._replace(x=x, y=y, query=x, target=y, noiseless=oracle)
    dmmse = replace(optimal_learners(task)["dmmse"], pool=pool)  # type: ignore[type-var]
    ridge = Ridge(stored["lam"].item())
    record = task_diversity(ridge, {"ridge": ridge, "dmmse": dmmse}, {"": batch}, 0, 5)  # type: ignore[dict-item]
    (found,) = record["of_tasks"]
    ours = torch.tensor(found["distances"]["dmmse"]["mean"])
    assert_close(ours, stored[f"{group}.delta_ridge_dmmse_per_position"].double(), 5e-4)


def test_tasks_between_two_have_their_mean_norm() -> None:
    first, second = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    norms = (first.norm(dim=1) + second.norm(dim=1)) / 2
    for share in SHARES:
        mixed = interpolate(first, second, share)
        torch.testing.assert_close(mixed.norm(dim=1), norms)
        v = share * first + (1 - share) * second
        torch.testing.assert_close(mixed, norms[:, None] * v / v.norm(dim=1, keepdim=True))
    torch.testing.assert_close(interpolate(first, second, 1.0) / norms[:, None], first / first.norm(dim=1)[:, None])


def test_dmmse_knows_the_pool_and_nothing_between() -> None:
    # Tasks of one norm, so that the ends of the interpolation are tasks of the pool.
    task = NoisyLinearFunctionTask(num_points=12, input_dim=3, noise_std=0.1, num_tasks=2)
    pool = task.pool().weight
    pool /= pool.norm(dim=1, keepdim=True)  # in place: the task's own
    record = interpolated_tasks(FunctionSubject(0, task, optimal_learners(task)["dmmse"]), 200, 20)
    assert record["shares"] == [pytest.approx(step / 10) for step in range(11)]
    errors = {name: found["mean"] for name, found in record["errors"].items()}
    assert errors[MODEL] == errors["dmmse"]
    assert errors["dmmse"][5] > 3 * max(errors["dmmse"][0], errors["dmmse"][10])
    assert max(errors["ridge"]) < 1.3 * min(errors["ridge"])  # to it all tasks of one norm are alike
    assert errors["dmmse"][0] < errors["ridge"][0]
    for found in record["errors"].values():
        assert all(low <= mean <= high for mean, low, high in zip(*found.values(), strict=True))

"""The functions themselves, beside the published values; moments and randomness of what a task draws."""

import math
from typing import Any

import pytest
import torch

from iclgd.data.functions import (
    FUNCTION_TASKS,
    DecisionTrees,
    FunctionTask,
    LinearFunctions,
    LinearFunctionTask,
    NoisyLinearFunctionTask,
    QuadraticFunctions,
    ReluNetworks,
    SparseLinearFunctionTask,
)
from iclgd.data.functions.linear import keep_coordinates
from tests.fixtures import assert_close
from tests.function_references import arrays, numbers

TOLERANCE = 2e-5
MOMENTS = {  # names of the published code, and keys of ours that are no defaults
    "linear_regression": ("linear", {}),
    "sparse_linear_regression": ("sparse_linear", {}),
    "quadratic_regression": ("quadratic", {}),
    "relu_2nn_regression": ("relu_network", {}),
    "decision_tree": ("decision_tree", {}),
    "noisy_linear_regression": ("noisy_linear", {}),
    "noisy_linear_regression+renormalize": ("noisy_linear", {"renormalize": True}),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_linear_functions_have_the_published_values() -> None:
    stored = arrays("C1_linear")
    assert_close(LinearFunctions(stored["w"].squeeze(-1))(stored["xs"]), stored["ys"], TOLERANCE)
    scaled = LinearFunctions(stored["w_scaled"].squeeze(-1)).scaled(stored["scale"])
    assert_close(scaled(stored["xs"]), stored["ys_scaled"], TOLERANCE)


def test_sparse_functions_have_the_published_values() -> None:
    stored = arrays("C1_sparse")
    assert_close(LinearFunctions(stored["w"].squeeze(-1))(stored["xs"]), stored["ys"], TOLERANCE)
    dense, sparse = stored["w_dense_valid"].squeeze(-1), stored["w_valid"].squeeze(-1)
    kept = sparse.nonzero()[:, 1].view(len(sparse), -1)
    weight = keep_coordinates(dense, kept)
    assert torch.equal(weight, sparse)
    assert_close(LinearFunctions(weight)(stored["xs"]), stored["ys_valid"], TOLERANCE)


@pytest.mark.parametrize("num_dims", [None, 5, 2])
def test_sparse_functions_keep_coordinates_that_the_inputs_have(num_dims: int | None) -> None:
    weight = SparseLinearFunctionTask(input_dim=7).draw_functions(500, generator(), num_dims=num_dims).weight
    stored = arrays("C1_sparse")["w_fewer_valid_than_sparsity"]
    assert stored.count_nonzero() < 3 * len(stored)  # the published code, too, keeps fewer where there are fewer
    assert (weight.count_nonzero(1) == min(3, num_dims or 7)).all()
    shares = (weight != 0).double().mean(0)
    valid = num_dims or 7
    torch.testing.assert_close(shares[:valid], torch.full((valid,), min(3, valid) / valid).double(), rtol=0, atol=0.08)
    assert not shares[valid:].any()


def test_noise_and_its_normalisation_are_as_published() -> None:
    stored = arrays("C1_noisy")
    sigma, functions = stored["noise_std"].item(), LinearFunctions(stored["w"].squeeze(-1))
    task = NoisyLinearFunctionTask(input_dim=7, noise_std=sigma, renormalize=True)
    noisy = functions(stored["xs"]) + sigma * stored["standard_noise"]
    assert_close(noisy, stored["ys"], TOLERANCE)
    factor = task.normalization(noisy)
    assert_close(noisy * factor, stored["ys_renormalized"], TOLERANCE)
    again = stored["ys_second_call"]
    assert_close(again * task.normalization(again), stored["ys_second_call_renormalized"], TOLERANCE)


def test_quadratic_functions_have_the_published_values() -> None:
    stored = arrays("C1_quadratic")
    functions = QuadraticFunctions(stored["w"].squeeze(-1))
    assert_close(functions(stored["xs"]), stored["ys"], TOLERANCE)
    assert_close(functions.scaled(stored["scale"])(stored["xs"]), stored["ys_scaled"], TOLERANCE)


def test_relu_networks_have_the_published_values() -> None:
    stored = arrays("C1_relu")
    functions = ReluNetworks(stored["W1"], stored["W2"].squeeze(-1))
    assert_close(functions(stored["xs"]), stored["ys"], TOLERANCE)
    assert_close(functions.scaled(stored["scale"])(stored["xs"]), stored["ys_scaled"], TOLERANCE)


@pytest.mark.parametrize(
    ("prefix", "inputs", "targets"),
    [
        ("", "xs", "ys"),
        ("", "xs_with_zeros", "ys_with_zeros"),
        ("single_", "xs", "ys_single"),
        ("depth4_", "xs", "ys_depth4"),
    ],
)
def test_trees_have_the_published_values(prefix: str, inputs: str, targets: str) -> None:
    stored = arrays("C1_tree")
    coordinates, values = stored[f"{prefix}coordinates"], stored[f"{prefix}targets"]
    num_inner = values.shape[1] // 2
    trees = DecisionTrees(coordinates[:, :num_inner].long(), values[:, num_inner:])
    all_trees = trees.select(torch.arange(6) % len(values))
    assert torch.equal(all_trees(stored[inputs]), stored[targets])


def test_pools_give_their_rows() -> None:
    stored = arrays("C1_pools")
    linear = LinearFunctions(stored["pool_w"].squeeze(-1)).select(stored["index"].long())
    assert torch.equal(linear.weight, stored["w"].squeeze(-1))
    networks = ReluNetworks(stored["pool_W1"], stored["pool_W2"].squeeze(-1)).select(stored["index_relu"].long())
    assert torch.equal(networks.first, stored["W1"])
    assert torch.equal(networks.second, stored["W2"].squeeze(-1))
    rows = stored["pool_w"].squeeze(-1)[stored["index_sparse"].long()]
    sparse = stored["w_sparse"].squeeze(-1)
    assert torch.equal(rows[sparse != 0], sparse[sparse != 0])


@pytest.mark.parametrize("name", MOMENTS)
def test_targets_have_the_published_moments(name: str) -> None:
    stored, (ours, keys) = numbers("C1_moments")[name], MOMENTS[name]
    task = FUNCTION_TASKS[ours](name=ours, num_points=20, **keys)
    y = task.sample(2000, generator()).y.double()
    squares = y.square().mean(1)
    # Standard errors over prompts, whose points share a function; the published sample has twice as many.
    error = (squares.std() / math.sqrt(2000)).item()
    assert squares.mean().item() == pytest.approx(stored["mean_square"], abs=4 * math.sqrt(1.5) * error)
    assert abs(y.mean().item()) < 4 * y.mean(1).std().item() / math.sqrt(2000)
    assert error < 0.03 * stored["mean_square"]


@pytest.mark.parametrize("name", FUNCTION_TASKS)
def test_mean_square_is_that_of_the_targets_without_noise(name: str) -> None:
    task = FUNCTION_TASKS[name](name=name, input_dim=5, num_points=20, weight_scale=2.0)
    noiseless = task.sample(3000, generator()).noiseless
    assert noiseless.square().mean().item() == pytest.approx(4 * task.mean_square, rel=0.1)


@pytest.mark.parametrize("name", FUNCTION_TASKS)
def test_samples_are_reproducible_and_the_same_in_both_precisions(name: str) -> None:
    task, source = FUNCTION_TASKS[name](name=name, input_dim=4, num_points=6), generator()
    first, second = task.sample(5, source), task.sample(5, source)
    again, double = task.sample(5, generator()), task.sample(5, generator(), torch.float64)
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.y, again.y)
    assert not torch.equal(first.x, second.x)
    assert not torch.equal(first.y, second.y)
    assert double.y.dtype == double.noiseless.dtype == torch.float64
    assert torch.equal(first.x.double(), double.x)
    assert_close(first.y.double(), double.y, 1e-5)
    torch.testing.assert_close(first.functions(first.query), first.noiseless)


def test_one_position_is_a_regression_problem() -> None:
    batch = NoisyLinearFunctionTask(input_dim=3, num_points=6, query="overlapping").sample(5, generator())
    x, y, query, target = batch.at(4)
    assert torch.equal(x, batch.x[:, :4])
    assert torch.equal(y[..., 0], batch.y[:, :4])
    assert torch.equal(query, batch.query[:, 4])
    assert torch.equal(target[:, 0], batch.target[:, 4])
    assert {tensor.stride(0) for tensor in (x, y, query, target)} == {1}
    for position in (0, 6):
        with pytest.raises(ValueError, match=f"position must be from 1 to 5 .*, got {position}"):
            batch.at(position)


def test_noise_of_examples_and_of_other_queries_is_not_the_same() -> None:
    same = NoisyLinearFunctionTask(noise_std=0.5).sample(300, generator())
    assert same.target is same.y
    assert (same.y - same.noiseless).std().item() == pytest.approx(0.5, rel=0.05)
    other = NoisyLinearFunctionTask(noise_std=0.5, query="overlapping").sample(300, generator())
    examples, queries = other.y - other.functions(other.x), other.target - other.noiseless
    assert queries.std().item() == pytest.approx(0.5, rel=0.05)
    assert abs(torch.corrcoef(torch.stack([examples.flatten(), queries.flatten()]))[0, 1].item()) < 0.05


def test_a_pool_is_a_part_of_the_task() -> None:
    task = LinearFunctionTask(input_dim=3, num_tasks=4, weight_scale=2.0)
    pool = task.pool().weight
    assert pool.shape == (4, 3)
    drawn = task.draw_functions(200, generator()).weight
    assert {tuple(row) for row in drawn.tolist()} == {tuple(row) for row in pool.tolist()}
    assert torch.equal(pool, LinearFunctionTask(input_dim=3, num_tasks=4).pool().weight * 2)
    assert not torch.equal(pool, LinearFunctionTask(input_dim=3, num_tasks=4, pool_seed=1).pool().weight * 2)
    double = task.draw_functions(200, generator(), torch.float64).weight
    assert torch.equal(double, drawn.double())
    alone = LinearFunctionTask(input_dim=3, num_tasks=1)
    assert (alone.sample(7, generator()).functions.weight == alone.pool().weight).all()


def test_without_replacement_no_function_comes_twice_in_a_batch() -> None:
    task = LinearFunctionTask(input_dim=3, num_tasks=8, replacement=False)
    drawn = task.draw_functions(8, generator()).weight
    assert len({tuple(row) for row in drawn.tolist()}) == 8
    assert not torch.equal(drawn, task.pool().weight)


def test_sparse_pools_are_masked_anew() -> None:
    task = SparseLinearFunctionTask(input_dim=6, num_tasks=1, sparsity=2)
    masked = task.draw_functions(40, generator()).weight
    assert len({tuple(row) for row in (masked != 0).tolist()}) > 5
    kept = masked[masked != 0]
    assert torch.equal(kept, task.pool().weight.expand_as(masked)[masked != 0])


def test_prompts_of_a_curriculum_are_shorter_and_of_fewer_dimensions() -> None:
    batch = LinearFunctionTask(input_dim=5, num_points=9).sample(4, generator(), num_points=6, num_dims=2)
    assert batch.x.shape == (4, 6, 5)
    assert batch.x[..., :2].all()
    assert not batch.x[..., 2:].any()
    assert batch.functions.weight.all()


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("decision_tree", {"depth": 0}, "task.depth must be at least 1, got 0"),
        ("decision_tree", {"num_tasks": 3}, "task.num_tasks must be 0 with task.name=decision_tree, got 3"),
        ("sparse_linear", {"sparsity": 21}, r"task.sparsity must be at most task.input_dim \(20\), got 21"),
        ("sparse_linear", {"sparsity": 0}, "task.sparsity must be at least 1, got 0"),
        ("relu_network", {"hidden_size": 0}, "task.hidden_size must be at least 1, got 0"),
        ("noisy_linear", {"noise_std": 0.0}, "task.noise_std must be positive and finite, got 0.0"),
        ("linear", {"noise_std": -1.0}, "task.noise_std must be at least 0, got -1.0"),
        ("noisy_linear", {"noise_std": 1e-20}, "task.noise_std must be 0 or at least 1e-06, got 1e-20"),
        ("linear", {"renormalize": True}, "task.renormalize=true needs task.noise_std above 0, got 0"),
        ("linear", {"num_points": 0}, "task.num_points must be at least 1, got 0"),
        ("linear", {"query": "ortogonal"}, "task.query must be one of: .*; did you mean orthogonal?"),
        ("linear", {"input_covariance": "skew"}, "task.input_covariance must be one of: .*; did you mean skewed?"),
        ("linear", {"input_scale": 0.0}, "task.input_scale must be positive and finite, got 0.0"),
        (
            "linear",
            {"input_dim": 1, "input_covariance": "half_subspace"},
            "task.input_dim must be at least 2 with task.input_covariance=half_subspace, got 1",
        ),
    ],
)
def test_bad_values_are_named(name: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FUNCTION_TASKS[name](name=name, **keys)


def test_a_pool_smaller_than_the_batch_is_refused() -> None:
    assert arrays("C1_pools")["rows_when_pool_smaller_than_batch"] < arrays("C1_pools")["batch"]
    task = LinearFunctionTask(num_tasks=1, replacement=False)
    message = r"task.num_tasks must be at least the prompts of a batch \(2\) with task.replacement=false, got 1"
    with pytest.raises(ValueError, match=message):
        task.sample(2, generator())
    assert task.sample(1, generator()).y.shape == (1, 41)
    with pytest.raises(ValueError, match=r"a task with task.num_tasks=0 has no pool"):
        LinearFunctionTask().pool()


def test_tasks_are_named_as_in_the_config() -> None:
    assert {name: task().name for name, task in FUNCTION_TASKS.items()} == {name: name for name in FUNCTION_TASKS}
    assert all(issubclass(task, FunctionTask) for task in FUNCTION_TASKS.values())

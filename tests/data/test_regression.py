import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from iclgd.data import LinearRegressionTask
from iclgd.data.covariance import square_root
from iclgd.data.covariates import DISTRIBUTIONS
from iclgd.data.seeding import named_generator
from tests.fixtures import FOLDER


def test_data_have_the_published_moments() -> None:
    stored = json.loads((FOLDER / "data_statistics.json").read_text())["linear"]
    task = LinearRegressionTask(num_context=stored["N"], input_dim=stored["d"])
    x, y, query, target = task.sample(stored["n_tasks"], torch.Generator().manual_seed(0))
    norms = torch.linalg.vector_norm(x.flatten(1), dim=1)
    for name, value in {
        "x_std": x.std(),
        "xq_std": query.std(),
        "y_std": y.std(),
        "context_frobenius_norm_mean": norms.mean(),
        "context_frobenius_norm_std": norms.std(),
    }.items():
        assert value.item() == pytest.approx(stored[name], rel=0.03), name
    assert 0.5 * target.square().mean().item() == pytest.approx(stored["half_mean_square_target"], rel=0.06)
    assert abs(x.mean().item()) < 1e-3
    assert 0.4999 < x.abs().max().item() <= stored["x_abs_max"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_are_uniform_over_their_range(dtype: torch.dtype) -> None:
    task = LinearRegressionTask(num_context=50, input_dim=20, input_range=3.0)
    x = task.sample(200, torch.Generator().manual_seed(0), dtype).x.flatten()
    assert x.dtype == dtype
    assert x.min() >= -1.5
    assert x.max() < 1.5
    shares = torch.histc(x.float(), bins=10, min=-1.5, max=1.5) / len(x)
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=0.003)
    assert len(x.unique()) > 0.98 * len(x)  # no coarse grid


def test_the_default_task_is_uniform_noise_free_regression() -> None:
    task, generator = LinearRegressionTask(num_context=4, input_dim=3), torch.Generator().manual_seed(0)
    drawn = [
        torch.empty(shape).random_(-(2**23), 2**23, generator=generator) / 2**24 for shape in ((4, 3, 64), (3, 64))
    ]
    weight = torch.randn(3, 64, generator=generator)
    batch = task.sample(64, torch.Generator().manual_seed(0))
    assert torch.equal(batch.x, drawn[0].permute(2, 0, 1))
    assert torch.equal(batch.query, drawn[1].T)
    torch.testing.assert_close(batch.target[:, 0], (drawn[1] * weight).sum(0))


def test_other_distributions_have_the_published_moments() -> None:
    stored = json.loads((FOLDER / "data_statistics.json").read_text())["ood_other"]
    task = LinearRegressionTask(num_context=stored["N"], input_dim=stored["d"], distribution="mixture", normalize=True)
    x, y, query, target = task.sample(stored["n_tasks"], torch.Generator().manual_seed(0))
    for name, value in {"x_mean": x.mean(), "x_std": x.std(), "xq_std": query.std(), "y_std": y.std()}.items():
        assert value.item() == pytest.approx(stored[name], rel=0.03), name
    norms = torch.linalg.vector_norm(x.flatten(1), dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, stored["context_frobenius_norm_mean"]))
    assert 0.5 * target.square().mean().item() == pytest.approx(stored["half_mean_square_target"], rel=0.06)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_normalized_contexts_have_the_norm_of_the_input_range(distribution: str) -> None:
    plain = LinearRegressionTask(
        num_context=5, input_dim=3, distribution=distribution, covariance="diagonal", condition_number=9.0
    )
    normalized = replace(plain, normalize=True, input_range=2.5)
    a, b = (task.sample(50, torch.Generator().manual_seed(0), torch.float64) for task in (plain, normalized))
    norms = torch.linalg.vector_norm(a.x.flatten(1), dim=1)
    torch.testing.assert_close(b.x, 2.5 * a.x / norms[:, None, None])
    torch.testing.assert_close(b.query, 2.5 * a.query / norms[:, None])


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("normalize", [False, True])
def test_scales_multiply_the_same_draw(distribution: str, normalize: bool) -> None:
    task = LinearRegressionTask(num_context=4, input_dim=3, distribution=distribution, normalize=normalize)
    scaled = replace(task, input_range=3.0, weight_scale=0.5)
    a, b = (task.sample(50, torch.Generator().manual_seed(0), torch.float64) for task in (task, scaled))
    for name, factor in {"x": 3.0, "query": 3.0, "y": 1.5, "target": 1.5}.items():
        torch.testing.assert_close(getattr(b, name), factor * getattr(a, name))


@pytest.mark.parametrize("covariance", ["diagonal", "rotated"])
@pytest.mark.parametrize("condition_number", [1.0, 30.0])
def test_covariates_have_their_covariance(covariance: str, condition_number: float) -> None:
    task = LinearRegressionTask(
        num_context=10, input_dim=4, covariance=covariance, condition_number=condition_number, covariance_seed=3
    )
    x, _, query, _ = task.sample(20_000, torch.Generator().manual_seed(0), torch.float64)
    root = square_root(covariance, 4, condition_number, seed=3)
    expected = root @ root / 12
    for points, tolerance in ((x.flatten(0, 1), 0.01), (query, 0.03)):
        assert (points.mT @ points / len(points) - expected).abs().max() < tolerance * expected.max()
    eigenvalues = torch.linalg.eigvalsh(x.flatten(0, 1).T.cov())
    assert (eigenvalues[-1] / eigenvalues[0]).item() == pytest.approx(condition_number, rel=0.03)


def test_the_rotation_belongs_to_the_task() -> None:
    task = LinearRegressionTask(num_context=4, input_dim=3, covariance="rotated", condition_number=10.0)
    plain, one, other = (
        task.sample(8, torch.Generator().manual_seed(0), torch.float64)
        for task in (LinearRegressionTask(num_context=4, input_dim=3), task, replace(task, covariance_seed=1))
    )
    torch.testing.assert_close(one.x, plain.x @ square_root("rotated", 3, 10.0, seed=0))
    torch.testing.assert_close(other.x, plain.x @ square_root("rotated", 3, 10.0, seed=1))
    assert not torch.allclose(one.x, other.x)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"distribution": "cauchy"},
            "task.distribution must be one of: uniform, normal, exponential, laplace, mixture; ",
        ),
        ({"covariance": "full"}, "task.covariance must be one of: isotropic, diagonal, rotated; got 'full'"),
        ({"condition_number": 2.0}, "task.condition_number must be 1 with task.covariance=isotropic, got 2.0"),
        ({"condition_number": 0.5, "covariance": "rotated"}, "task.condition_number must be at least 1, got 0.5"),
        (
            {"condition_number": float("nan"), "covariance": "rotated"},
            "task.condition_number must be at least 1, got nan",
        ),
        (
            {"condition_number": 2.0, "covariance": "rotated", "input_dim": 1},
            "task.condition_number must be 1 with task.input_dim=1, got 2.0",
        ),
        ({"covariance_seed": -1}, "task.covariance_seed must be at least 0, got -1"),
    ],
)
def test_bad_values_are_named(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        LinearRegressionTask(**keys)
    assert str(error.value).startswith(message)


def test_targets_are_linear_in_the_inputs() -> None:
    task = LinearRegressionTask(num_context=8, input_dim=3, output_dim=2, weight_scale=2.0)
    x, y, query, target = task.sample(5000, torch.Generator().manual_seed(0), torch.float64)
    weight = torch.linalg.pinv(x) @ y  # (B, D, O)
    torch.testing.assert_close(torch.einsum("bdo,bd->bo", weight, query), target)
    assert weight.std().item() == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("num_noise", [0, 1, 3, 5])
def test_noise_replaces_that_many_targets(num_noise: int) -> None:
    clean = LinearRegressionTask(num_context=5, input_dim=2)
    noisy = LinearRegressionTask(num_context=5, input_dim=2, num_noise=num_noise)
    a, b = (task.sample(4000, torch.Generator().manual_seed(0)) for task in (clean, noisy))
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.target, b.target)
    replaced = (a.y != b.y).squeeze(-1)
    assert (replaced.sum(1) == num_noise).all()
    assert replaced.float().mean(0).tolist() == pytest.approx([num_noise / 5] * 5, abs=0.03)  # any place
    if num_noise:
        assert b.y[replaced].std().item() == pytest.approx(1.0, rel=0.05)


def test_sampling_is_reproducible_and_goes_on() -> None:
    task = LinearRegressionTask(num_noise=2)
    generator = named_generator(0, "training")
    first, second = task.sample(4, generator), task.sample(4, generator)
    again = task.sample(4, named_generator(0, "training"))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.x, second.x)
    other = task.sample(4, named_generator(1, "training"))
    assert not torch.equal(first.x, other.x)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_task_index_is_contiguous_in_memory(distribution: str, normalize: bool) -> None:
    task = LinearRegressionTask(output_dim=2, distribution=distribution, covariance="rotated", normalize=normalize)
    for dtype in (torch.float32, torch.float64):
        batch = task.sample(6, torch.Generator(), dtype)
        assert {tensor.stride(0) for tensor in batch} == {1}
        assert {tensor.dtype for tensor in batch} == {dtype}


def test_shards_are_the_batch() -> None:
    batch = LinearRegressionTask().sample(6, torch.Generator())
    shards = [batch.shard(index, 3) for index in range(3)]
    for whole, parts in zip(batch, zip(*shards, strict=True), strict=True):
        assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("changes", [{}, {"normalize": True, "covariance": "rotated"}, {"num_noise": 2}])
def test_the_tasks_are_the_same_in_every_precision(distribution: str, changes: dict[str, object]) -> None:
    task = LinearRegressionTask(num_context=5, input_dim=3, output_dim=2, distribution=distribution, **changes)  # type: ignore[arg-type]
    single, double = (
        task.sample(20, torch.Generator().manual_seed(0), dtype) for dtype in (torch.float32, torch.float64)
    )
    for one, other in zip(single, double, strict=True):
        torch.testing.assert_close(one, other.float())
    if not task.num_noise:  # whose targets are those of a linear function, to double precision
        weight = torch.linalg.lstsq(double.x, double.y).solution
        torch.testing.assert_close((double.query[:, None] @ weight)[:, 0], double.target)

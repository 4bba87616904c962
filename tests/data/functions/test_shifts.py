"""Inputs and queries beside the published ones."""

import pytest
import torch
from torch import Tensor

from iclgd.data.functions import LinearFunctionTask
from iclgd.data.functions.inputs import INPUT_COVARIANCES, deviations, gaussian_inputs, input_scale
from iclgd.data.functions.queries import (
    QUERY_SHIFTS,
    Shifted,
    opposite_quadrants,
    orthogonal,
    overlapping,
    random_quadrants,
)
from tests.fixtures import assert_close
from tests.function_references import arrays

TOLERANCE = 2e-5


def draw(keys: dict[str, object], num_prompts: int = 500) -> tuple[Tensor, Tensor]:
    task = LinearFunctionTask(input_dim=6, num_points=10, **keys)  # type: ignore[arg-type]
    batch = task.sample(num_prompts, torch.Generator().manual_seed(0), torch.float64)
    torch.testing.assert_close(batch.functions(batch.x), batch.y)
    torch.testing.assert_close(batch.functions(batch.query), batch.target)
    return batch.x, batch.query


def test_inputs_of_a_given_scale_and_mean_are_as_published() -> None:
    stored = arrays("C2_sampler")
    raw, scale, mean = stored["raw"], stored["scale"], stored["bias"]
    assert_close(gaussian_inputs(raw, scale, mean), stored["xs"], TOLERANCE)
    truncated = gaussian_inputs(raw, scale, mean, num_dims=int(stored["truncated_to"]))
    assert_close(truncated, stored["xs_truncated"], TOLERANCE)
    assert_close(gaussian_inputs(raw, num_dims=2), stored["xs_plain_truncated_to_2"], TOLERANCE)
    assert_close(raw, arrays("C2_sampler")["raw"], 0)  # nothing was changed in place


@pytest.mark.parametrize(
    ("name", "covariance"), [("half", "half_subspace"), ("skewed", "skewed"), ("scale3", "isotropic")]
)
def test_covariances_are_as_published(name: str, covariance: str) -> None:
    stored = arrays("C3_covariances")
    spread = deviations(covariance, 7) * (3 if name == "scale3" else 1)
    assert_close(spread, stored[f"eigenvalues_{name}"], TOLERANCE)
    scale = input_scale(stored["orthogonal_basis"], spread, normalize=name != "scale3")
    assert_close(scale, stored[f"transform_{name}"], TOLERANCE)
    long = {"half": "half_subspace", "skewed": "skewed", "scale3": "scale_x_3"}[name]
    assert_close(gaussian_inputs(stored["raw"], scale), stored[f"xs_{long}"], TOLERANCE)


@pytest.mark.parametrize("name", ["half_subspace", "skewed", "scale-x_0.333"])
def test_the_evaluated_covariances_have_these_spectra(name: str) -> None:
    # Drawn with other axes: only what does not depend on them can be compared.
    scale = arrays("C3_covariances")[f"{name}_scale"]
    covariance = name if name in INPUT_COVARIANCES else "isotropic"
    ours = input_scale(torch.eye(7, dtype=torch.float64), deviations(covariance, 7), normalize=covariance == name)
    expected = torch.linalg.svdvals(ours * (1 if covariance == name else 0.333))
    assert (torch.linalg.svdvals(scale) - expected).abs().max() <= TOLERANCE * expected.max()


@pytest.mark.parametrize(("covariance", "rank"), [("skewed", 6), ("half_subspace", 3), ("isotropic", 6)])
def test_tasks_draw_inputs_of_the_named_covariance(covariance: str, rank: int) -> None:
    x, _ = draw({"input_covariance": covariance, "input_scale": 2.0}, num_prompts=4000)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.flatten(0, 1).T)).flip(0)
    spread = deviations(covariance, 6).square()
    torch.testing.assert_close(eigenvalues, 4 * 6 * spread / spread.sum(), rtol=0.06, atol=1e-6)
    assert torch.linalg.matrix_rank(x[0]) == rank
    assert x.square().sum(-1).mean().item() == pytest.approx(24, rel=0.03)


def test_axes_belong_to_the_task() -> None:
    first, second, other = (
        draw({"input_covariance": "half_subspace", "covariance_seed": seed}, 1)[0] for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert torch.linalg.matrix_rank(torch.cat([first[0], second[0]])) == 3
    assert torch.linalg.matrix_rank(torch.cat([first[0], other[0]])) == 6


def test_inputs_have_the_tasks_mean() -> None:
    x, _ = draw({"input_mean": 1.5})
    torch.testing.assert_close(x.mean((0, 1)), torch.full((6,), 1.5).double(), rtol=0, atol=0.07)


def published(name: str, raw: Tensor, stored: dict[str, Tensor]) -> Shifted:
    match name:
        case "standard":
            return QUERY_SHIFTS["standard"].draw(raw, torch.Generator())
        case "random_quadrants":
            return random_quadrants(raw, stored["pattern"])
        case "opposite_quadrants":
            return opposite_quadrants(raw, stored["pattern"])
        case "orthogonal_train_test":
            return orthogonal(raw)
    return overlapping(raw, stored["source_index"].long().clamp(min=0))


@pytest.mark.parametrize(
    "name",
    ["standard", "random_quadrants", "opposite_quadrants", "orthogonal_train_test", "overlapping_train_test"],
)
def test_shifted_queries_are_as_published(name: str) -> None:
    stored = arrays(f"C3_{name}")
    x, query = published(name, stored["raw"], stored)
    assert_close(x, stored["xs"], TOLERANCE)
    assert_close(query, stored.get("xs_query", stored["xs"]), 3e-5)


def test_quadrants_are_drawn_anew_for_every_prompt() -> None:
    for name in ("random_quadrants", "opposite_quadrants"):
        x, query = draw({"query": name})
        signs = x[:, 0].sign()
        assert (x.sign() == signs[:, None]).all()
        assert abs(signs.mean().item()) < 0.06
        is_opposite = (query.sign() == -signs[:, None]).all(-1)
        assert is_opposite.double().mean().item() == pytest.approx(
            1 if name == "opposite_quadrants" else 2**-6, abs=0.01
        )


def test_queries_are_orthogonal_while_there_is_a_direction_left() -> None:
    x, query = draw({"query": "orthogonal"})
    products = torch.einsum("bnd,bmd->bnm", query, x).tril(-1)
    assert products.abs().max() < 1e-9
    torch.testing.assert_close(query[:, :6].norm(dim=-1), x[:, :6].norm(dim=-1))
    assert not query[:, 6:].any()


def test_queries_repeat_any_example_before_them() -> None:
    x, query = draw({"query": "overlapping"})
    same = (query[:, :, None] == x[:, None]).all(-1).double()  # (B, query, example)
    assert torch.equal(query[:, 0], x[:, 0])
    assert (same.sum(-1) == 1).all()
    assert not same[:, 1:].triu(1).any()
    torch.testing.assert_close(same[:, 5, :5].mean(0), torch.full((5,), 0.2).double(), rtol=0, atol=0.06)


def test_shorter_prompts_than_dimensions_have_orthogonal_queries() -> None:
    raw = torch.randn(3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, query = orthogonal(raw)
    assert torch.einsum("bnd,bmd->bnm", query, x).tril(-1).abs().max() < 1e-9
    assert torch.equal(query[:, 0].sign(), x[:, 0].sign())

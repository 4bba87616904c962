import math

import pytest
import torch
from scipy import stats

from iclgd.data.covariates import DISTRIBUTIONS, MIXED, draw_covariates

WIDTH = 3.0
DEVIATION = WIDTH / math.sqrt(12)
LAWS = {
    "uniform": stats.uniform(-WIDTH / 2, WIDTH),
    "normal": stats.norm(0, DEVIATION),
    "exponential": stats.expon(0, DEVIATION),
    "laplace": stats.laplace(0, DEVIATION / math.sqrt(2)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distribution", LAWS)
def test_every_law_is_its_own_with_the_variance_of_the_uniform_one(distribution: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    context, query = draw_covariates(distribution, [(2, 5, 2000), (5, 2000)], WIDTH, generator, dtype)
    for drawn in (context, query):
        assert drawn.dtype == dtype
        assert stats.kstest(drawn.flatten().numpy(), LAWS[distribution].cdf).pvalue > 0.01
    assert LAWS[distribution].std() == pytest.approx(DEVIATION)
    assert context.std().item() == pytest.approx(DEVIATION, rel=0.03)


def test_a_mixture_draws_each_task_from_one_law() -> None:
    generator = torch.Generator().manual_seed(0)
    num_tasks = 3000
    context, query = draw_covariates("mixture", [(40, 10, num_tasks), (40, num_tasks)], 1.0, generator)
    # Only the exponential one has no negative numbers; the fourth moment tells the normal from the Laplace one.
    exponential = (context >= 0).all(0).all(0)
    assert torch.equal(exponential, (query >= 0).all(0))
    kurtosis = (context.pow(4).mean((0, 1)) / context.square().mean((0, 1)).square())[~exponential]
    for share in (exponential.float().mean(), (kurtosis < 4).sum() / num_tasks, (kurtosis > 4).sum() / num_tasks):
        assert share.item() == pytest.approx(1 / len(MIXED), abs=0.03)


def test_an_unknown_law_is_named() -> None:
    with pytest.raises(ValueError, match=r"distribution must be one of: uniform, .*; got 'cauchy'"):
        draw_covariates("cauchy", [(2, 2)], 1.0, torch.Generator())
    assert set(DISTRIBUTIONS) == {*LAWS, "mixture"}

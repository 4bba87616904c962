"""Tasks drawn on a GPU, and every textbook learner and analysis on tensors that are there."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import iclgd
from iclgd.analysis.algorithms import algorithms_by_layer, candidate_learners
from iclgd.analysis.copying import first_layer_gradients
from iclgd.analysis.functions import transformer_kernel
from iclgd.analysis.iterated import iterate, losses_per_application
from iclgd.analysis.out_of_distribution import losses_under_shifts
from iclgd.data import LinearRegressionTask, RegressionBatch, RegressionTask, SineTask
from iclgd.data.covariance import COVARIANCES
from iclgd.data.covariates import DISTRIBUTIONS
from iclgd.data.few_shot_language import FewShotLanguageConfig
from iclgd.data.seeding import named_generator
from iclgd.models import BayesOptimal, GradientDescent, LeastSquares, Newton, Predictor, Ridge
from iclgd.models.constructions import gd_plus_plus_transformer, gradient_descent_transformer, interpolate
from iclgd.models.features import FeatureGradientDescent
from iclgd.models.gd_plus_plus import GradientDescentPlusPlus, best_gd_plus_plus
from iclgd.models.learners import best_learning_rate
from iclgd.models.preconditioned import PreconditionedGradientDescent, best_preconditioner
from iclgd.models.transformer import Transformer, TransformerConfig
from tests.devices.conftest import Gpu

TASK = LinearRegressionTask(num_context=5, input_dim=3, num_noise=1)
TASKS: list[RegressionTask] = [
    *(LinearRegressionTask(num_context=5, input_dim=3, distribution=name) for name in DISTRIBUTIONS),
    *(LinearRegressionTask(num_context=5, input_dim=3, covariance=name) for name in COVARIANCES),
    LinearRegressionTask(num_context=5, input_dim=3, output_dim=2, num_noise=2, normalize=True),
    SineTask(input_dim=1),
]
DRAW = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(1, 3, generator=DRAW)
LEARNERS: dict[str, Predictor] = {
    "gd": GradientDescent(0.1, 3, WEIGHT),
    "gd_plus_plus": GradientDescentPlusPlus((0.1, 0.2), (0.1, 0.1)),
    "preconditioned": PreconditionedGradientDescent(torch.diag(torch.tensor([0.1, 0.2, 0.3])), 2),
    "newton": Newton(4),
    "ridge": Ridge(0.1),
    "least_squares": LeastSquares(),
    "bayes": BayesOptimal(1.0, 1),
}
MODULES: dict[str, Callable[[], torch.nn.Module]] = {
    "gd": lambda: gradient_descent_transformer(3, learning_rate=0.1, num_layers=2, initial_weight=WEIGHT),
    "gd_plus_plus": lambda: gd_plus_plus_transformer(3, [0.1, 0.2], [0.1, 0.2]),
    "features": lambda: FeatureGradientDescent(3, 1, 4).initialize(0.1, torch.Generator().manual_seed(0)),
}


def batch_there(task: RegressionTask, num_tasks: int = 30) -> tuple[RegressionBatch, RegressionBatch]:
    """Return tasks on the CPU, and the same on the GPU."""
    batch = task.sample(num_tasks, named_generator(0, "tasks"))
    return batch, RegressionBatch(*(tensor.to("cuda") for tensor in batch))


def agree(found: Tensor, expected: Tensor, gpu: Gpu) -> None:
    assert found.is_cuda
    tolerance = 1e-4 if gpu.is_real else 1e-6
    torch.testing.assert_close(found.detach().cpu(), expected.detach(), rtol=tolerance, atol=tolerance)


def test_tasks_are_drawn_where_their_generator_is(gpu: Gpu) -> None:
    with gpu.there():
        for task in TASKS:
            batch = task.sample(20, named_generator(0, "tasks", "cuda"))
            assert all(tensor.is_cuda for tensor in batch)
            assert all(tensor.isfinite().all() for tensor in batch)
        assert all(tensor.is_cuda for tensor in SineTask(input_dim=1).sample_function(torch.Generator("cuda"), 5))
        batch = FewShotLanguageConfig(num_demonstrations=3).sample(4, named_generator(0, "tasks", "cuda"))
        assert batch.tokens.is_cuda
        assert batch.is_label is not None
        assert batch.is_label.is_cuda


@pytest.mark.parametrize("name", LEARNERS)
def test_learners(name: str, gpu: Gpu) -> None:
    """Those with tensors of their own have them on the CPU."""
    learner = LEARNERS[name]
    with gpu.there():
        here, batch = batch_there(TASK)
        agree(learner(*batch[:3]), learner(*here[:3]), gpu)


@pytest.mark.parametrize("name", MODULES)
def test_references_that_are_modules(name: str, gpu: Gpu) -> None:
    with gpu.there():
        here, batch = batch_there(TASK)
        expected = MODULES[name]()(here.x, here.y, here.query)
        agree(MODULES[name]().to("cuda")(batch.x, batch.y, batch.query), expected, gpu)


def test_what_is_fitted_to_tasks(gpu: Gpu) -> None:
    """The searches give the same numbers wherever their tasks are."""
    with gpu.there():
        here, batch = batch_there(TASK)
        expected, found = best_learning_rate(*here, num_steps=2), best_learning_rate(*batch, num_steps=2)
        assert found == pytest.approx(expected, rel=1e-6)
        for steps, diagonal in ((1, True), (1, False), (2, False)):
            one, other = (best_preconditioner(*tasks, steps, diagonal).preconditioner for tasks in (here, batch))
            agree(other, one, gpu)
        one, other = (best_gd_plus_plus(*tasks, 2, shared=True) for tasks in (here, batch))
        assert other.learning_rates == pytest.approx(one.learning_rates, rel=1e-4)


def test_analyses(gpu: Gpu) -> None:
    with gpu.there():
        here, batch = batch_there(TASK)
        model = Transformer(TransformerConfig(), 3).initialize(torch.Generator().manual_seed(1))
        construction = gradient_descent_transformer(3, learning_rate=0.1)
        kernel = transformer_kernel(model, here.x, here.y, here.query)
        losses = losses_per_application(iterate(construction, 3, 0.75), here)
        mixed = interpolate(model, construction)(*here[:3])
        gradients = first_layer_gradients(model, *here[:3])
        model.to("cuda")
        construction.to("cuda")
        agree(transformer_kernel(model, batch.x, batch.y, batch.query), kernel, gpu)
        agree(losses_per_application(iterate(construction, 3, 0.75), batch), losses, gpu)
        agree(interpolate(model, construction)(*batch[:3]), mixed, gpu)
        agree(first_layer_gradients(model, *batch[:3]), gradients, gpu)
        learners: dict[str, Predictor] = {"model": model, "ridge": Ridge(0.1)}
        shifted = losses_under_shifts(TASK, learners, 0, 20, ["num_noise", "distribution"], device="cuda")
        assert shifted["num_noise"]["losses"]["ridge"][0] > 0
        candidates = candidate_learners(batch, 1, TASK)
        found = algorithms_by_layer([construction], candidates, batch, 10, torch.Generator().manual_seed(0))
        assert found["verdicts"][0]["nearest"]
        there = iclgd.which_algorithm(construction, TASK, num_tasks=50, num_resamples=5)
        here_again = iclgd.which_algorithm(construction.to("cpu"), TASK, num_tasks=50, num_resamples=5)
        assert there.learner == here_again.learner
        assert there.distances == pytest.approx(here_again.distances, rel=1e-3)

"""The identities that the platform rests on, checked in double precision."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from iclgd.analysis.two_forms import attention_form, dual_form
from iclgd.data import LinearRegressionTask, RegressionBatch
from iclgd.models.constructions import gd_plus_plus_transformer, gradient_descent_transformer
from iclgd.models.gd_momentum import GradientDescentMomentum
from iclgd.models.gd_plus_plus import GradientDescentPlusPlus
from iclgd.models.learners import GradientDescent

TOLERANCE = 1e-10

# Every shape is different, so that no two can be taken for each other; the last has more inputs than points.
TASKS = (
    LinearRegressionTask(num_context=10, input_dim=10, output_dim=1),
    LinearRegressionTask(num_context=7, input_dim=3, output_dim=2),
    LinearRegressionTask(num_context=2, input_dim=6, output_dim=5),
)
NUM_TASKS = 64
LEARNING_RATES = (0.01, 0.6)
MOMENTA = {2: 0.9, 3: -0.2, 8: 0.5}  # of so many steps


@dataclass(frozen=True)
class Identity:
    """A statement "this equals that" and a function that measures by how much it fails."""

    name: str
    statement: str
    error: Callable[[RegressionBatch, float, Tensor], float]


def largest_error(identity: Identity, seed: int = 0) -> float:
    """Return the identity's largest absolute error over all shapes and learning rates.

    Args:
        identity: what to check.
        seed: of the tasks and initial weights.
    """
    generator = torch.Generator().manual_seed(seed)
    errors = []
    for task in TASKS:
        batch = task.sample(NUM_TASKS, generator, torch.float64)
        start = torch.randn(task.output_dim, task.input_dim, generator=generator, dtype=torch.float64)
        for learning_rate in LEARNING_RATES:
            errors += [identity.error(batch, learning_rate, w0) for w0 in (torch.zeros_like(start), start)]
    # max() would pass over a NaN that is not in first place
    return torch.tensor(errors, dtype=torch.float64).max().item()


def _construction_and_step(batch: RegressionBatch, learning_rate: float, start: Tensor) -> float:
    return _construction_and_steps(batch, learning_rate, start, num_steps=1)


def _construction_and_steps(batch: RegressionBatch, learning_rate: float, start: Tensor, num_steps: int = 5) -> float:
    model = _construction(batch, learning_rate, start, num_steps)
    learner = GradientDescent(learning_rate, num_steps, start)
    return _distance(model(*batch[:3]), learner(*batch[:3]))


def _step_and_gradient(batch: RegressionBatch, learning_rate: float, start: Tensor) -> float:
    weight = start.expand(len(batch.x), *start.shape).clone().requires_grad_()
    residual = torch.einsum("bod,bnd->bno", weight, batch.x) - batch.y
    (gradient,) = torch.autograd.grad(0.5 * residual.square().sum(), weight)
    learner = GradientDescent(learning_rate, 1, start)
    return _distance(learner.weight(batch.x, batch.y), weight.detach() - learning_rate * gradient)


def _read_out_and_full(batch: RegressionBatch, learning_rate: float, start: Tensor) -> float:
    model = _construction(batch, learning_rate, start, num_steps=3)
    full = model.layer_predictions(*batch[:3])[-1]
    return _distance(model(*batch[:3]), full)


def _gd_plus_plus_and_learner(batch: RegressionBatch, learning_rate: float, start: Tensor) -> float:
    rates, gammas = (learning_rate, 2 * learning_rate, learning_rate), (0.3 * learning_rate, 0.1, 0.2)
    outputs, dim = start.shape
    model = gd_plus_plus_transformer(dim, rates, gammas, outputs, dtype=torch.float64)
    return _distance(model(*batch[:3]), GradientDescentPlusPlus(rates, gammas)(*batch[:3]))


def _momentum_and_learner(batch: RegressionBatch, learning_rate: float, start: Tensor) -> float:
    outputs, dim = start.shape
    errors = []
    for depth, momentum in MOMENTA.items():
        model = gradient_descent_transformer(
            dim, outputs, learning_rate, depth, start, torch.float64, momentum=momentum
        )
        learner = GradientDescentMomentum(learning_rate, momentum, depth, start)
        errors.append(model(*batch[:3]) - learner(*batch[:3]))
    return torch.stack(errors).abs().max().item()


def _attention_and_dual(batch: RegressionBatch, learning_rate: float, start: Tensor) -> float:
    learner = GradientDescent(learning_rate, 1, start)
    expected = learner(*batch[:3])
    errors = []
    for x, y, query, prediction in zip(batch.x, batch.y, batch.query, expected, strict=True):
        error_signals = -learning_rate * (x @ start.T - y)
        attention = attention_form(start, x, error_signals, query)
        errors += [
            _distance(attention, dual_form(start, x, error_signals, query)),
            _distance(attention, prediction),
        ]
    return max(errors)


def _construction(batch: RegressionBatch, learning_rate: float, start: Tensor, num_steps: int):  # type: ignore[no-untyped-def]
    outputs, dim = start.shape
    return gradient_descent_transformer(dim, outputs, learning_rate, num_steps, start, torch.float64)


def _distance(left: Tensor, right: Tensor) -> float:
    assert left.shape == right.shape
    return (left - right).abs().max().item()


IDENTITIES = (
    Identity("construction", "constructed layer = one gradient step", _construction_and_step),
    Identity("gradient", "one gradient step = analytic gradient (autograd)", _step_and_gradient),
    Identity("dual_form", "attention form = dual form = one gradient step", _attention_and_dual),
    Identity("depth", "5 stacked layers = 5 gradient steps", _construction_and_steps),
    Identity("gd_plus_plus", "3 constructed GD++ layers = 3 steps of GD++", _gd_plus_plus_and_learner),
    Identity("momentum", "2, 3 and 8 constructed layers = steps of GD with momentum", _momentum_and_learner),
    Identity("read_out", "query-only computation = all tokens", _read_out_and_full),
)

"""The identities that the platform rests on, checked in double precision."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from iclgd.analysis.two_forms import attention_form, dual_form
from iclgd.data import LinearRegressionTask, RegressionBatch
from iclgd.models.constructions import gd_plus_plus_transformer, gradient_descent_transformer
from iclgd.models.every_position import DiscreteMMSE
from iclgd.models.gd_momentum import GradientDescentMomentum
from iclgd.models.gd_plus_plus import GradientDescentPlusPlus
from iclgd.models.learners import GradientDescent, Ridge
from iclgd.models.sequences import mesa_attention
from iclgd.models.sequences.construction import gradient_descent_layer, gradient_descent_tokens
from iclgd.models.sequences.tokens import shifted

TOLERANCE = 1e-10

# Every shape is different, so that no two can be taken for each other; the last has more inputs than points.
TASKS = (
    LinearRegressionTask(num_context=10, input_dim=10, output_dim=1),
    LinearRegressionTask(num_context=7, input_dim=3, output_dim=2),
    LinearRegressionTask(num_context=2, input_dim=6, output_dim=5),
)
NUM_TASKS = 64
LEARNING_RATES = (0.01, 0.6)
STRENGTHS = (0.5, 20.0)  # lambda of mesa layers
GRID = torch.arange(-12, 12.01, 0.24, dtype=torch.float64)  # of weights: so fine that sums over it are integrals
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


def _mesa_and_least_squares(batch: RegressionBatch, learning_rate: float, start: Tensor) -> float:
    """Compare at every position, as if the points were a sequence; each asks with the query's mirror image too."""
    queries = batch.query[:, None] - batch.x
    errors = []
    for strength in STRENGTHS:
        lambdas = torch.tensor([strength], dtype=torch.float64)
        output = mesa_attention(queries[:, None], batch.x[:, None], batch.y[:, None], lambdas, chunk=4)[:, 0]
        for position in range(batch.x.shape[1]):
            seen = slice(position + 1)
            expected = Ridge(1 / strength)(batch.x[:, seen], batch.y[:, seen], queries[:, position])
            errors.append(_distance(output[:, position], expected))
    return max(errors)


def _sequence_and_gradient(batch: RegressionBatch, learning_rate: float, start: Tensor) -> float:
    """Compare a layer over the points as a sequence with gradients of the loss up to each, by autograd."""
    initial = start.T @ start
    tokens = gradient_descent_tokens(batch.x, initial)
    updated = tokens + gradient_descent_layer(learning_rate, initial)(tokens)
    weights = initial.expand(*batch.x.shape[:2], *initial.shape).clone().requires_grad_()  # one for each position
    residual = batch.x[:, None] - torch.einsum("btij,bsj->btsi", weights, shifted(batch.x))
    loss = 0.5 * residual.square().sum(-1).tril().sum()
    (gradient,) = torch.autograd.grad(loss, weights)
    learned = weights.detach() - learning_rate * gradient
    expected = torch.einsum("btij,btj->bti", learned, batch.x)
    return _distance(updated[..., : len(initial)].detach(), expected)


def _dmmse_and_ridge(batch: RegressionBatch, learning_rate: float, start: Tensor) -> float:
    """Compare for one input: a pool of equally likely weights on a fine grid, and one example that makes them Gaussian.

    Of a prior N(0, 1 / r), the density at w is that of an example x = sqrt(r), y = 0 with unit noise.
    """
    x, y, query = batch.x[..., :1], batch.y[..., :1], batch.query[:, :1]
    regularization = 0.5 + learning_rate
    root = x.new_full((len(x), 1, 1), regularization**0.5)
    learner = DiscreteMMSE(GRID[:, None], noise_std=1.0)
    found = learner(torch.cat([root, x], 1), torch.cat([0 * root, y], 1), query)
    return _distance(found, Ridge(regularization)(x, y, query))


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
    Identity("mesa", "mesa layer = least squares of the past, at every position", _mesa_and_least_squares),
    Identity("mesa_construction", "constructed layer over a sequence = one gradient step", _sequence_and_gradient),
    Identity("dmmse", "dMMSE with a Gaussian prior = ridge regression", _dmmse_and_ridge),
    Identity("read_out", "query-only computation = all tokens", _read_out_and_full),
)

"""Losses and gradients of several models that train together, one for each seed."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from iclgd.data import RegressionBatch
from iclgd.models.loss import half_mean_squared_error
from iclgd.vendors.torch import multiply_, norms


def training_loss(model: nn.Module, batch: RegressionBatch) -> Tensor:
    """Return the training loss of one model, [vO] equation 2."""
    return half_mean_squared_error(model(batch.x, batch.y, batch.query), batch.target)


def add_gradients(
    models: Sequence[nn.Module], batches: Sequence[RegressionBatch], backward: Callable[[Tensor], object]
) -> Tensor:
    """Add each model's gradient on its own batch to its parameters.

    On a GPU the models' weights are stacked and all of them computed by the same kernels: so few of the many units are
    busy with one toy model that ten cost little more. On a CPU they take turns, as one model's tokens already fill the
    cache.

    Args:
        models: S of the same architecture.
        batches: S.
        backward: what starts the backward pass.

    Returns:
        The losses, (S,), detached.
    """
    if len(models) > 1 and batches[0].x.is_cuda:
        losses = stacked_losses(models, batches)
        backward(losses.sum())
        return losses.detach()
    turns = []
    for model, batch in zip(models, batches, strict=True):
        loss = training_loss(model, batch)
        backward(loss)
        turns.append(loss.detach())
    return torch.stack(turns)


def stacked_losses(models: Sequence[nn.Module], batches: Sequence[RegressionBatch]) -> Tensor:
    """Return the losses of models of one architecture, (S,), from stacked weights and batches; arguments as above."""
    named = [dict(model.named_parameters()) for model in models]
    stacked = {name: torch.stack([parameters[name] for parameters in named]) for name in named[0]}

    def loss(parameters: dict[str, Tensor], batch: tuple[Tensor, ...]) -> Tensor:
        problem = RegressionBatch(*batch)
        return half_mean_squared_error(functional_call(models[0], parameters, tuple(problem[:3])), problem.target)

    losses: Tensor = vmap(loss)(stacked, tuple(torch.stack(tensors) for tensors in zip(*batches, strict=True)))
    return losses


def clip_by_global_norm(parameters: Sequence[nn.Parameter], max_norm: float) -> None:
    """Scale all gradients by ``max_norm / norm`` if their common norm exceeds ``max_norm``.

    Unlike :func:`torch.nn.utils.clip_grad_norm_` nothing is added to the norm, which would matter here: the published
    ``max_norm`` of 0.001 is only 1000 times the 1e-6 that PyTorch adds.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(norms(gradients)))
    multiply_(gradients, (max_norm / norm).clamp_max(1.0))

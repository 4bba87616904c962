"""One trained layer applied many times beside as many gradient steps; [vO] section 3, "rolling out"."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from iclgd.analysis.subject import Subject
from iclgd.data import RegressionBatch
from iclgd.data.seeding import named_generator
from iclgd.models.loss import half_mean_squared_error
from iclgd.models.transformer import Transformer


def iterate(layer: Transformer, num_applications: int, dampening: float) -> Transformer:
    """Return the model that applies a one-layer transformer's layer many times.

    As published, an application changes the target channels alone, by ``dampening`` times the model's own update.

    Args:
        layer: a transformer of one layer.
        num_applications: how often to apply it.
        dampening: factor of each update.

    Raises:
        ValueError: if the transformer has more than one layer.
    """
    if layer.config.num_layers != 1:
        raise ValueError(f"only a single layer can be iterated, got {layer.config.num_layers}")
    model = copy.deepcopy(layer)  # not built anew: a first layer and a repeated one differ in their norms
    dampening *= layer.config.dampening
    model.config = replace(
        layer.config, num_layers=num_applications, recurrent=True, update_targets_only=True, dampening=dampening
    )
    for each in model.sequence(1):
        each.num_updated, each.dampening = layer.output_dim, dampening
    return model.requires_grad_(False)


def losses_per_application(model: Transformer, batch: RegressionBatch) -> Tensor:
    """Return 0.5 x the mean squared error before the first and after each application, (L + 1,)."""
    hidden, losses = model.embed(model.tokens(batch.x, batch.y, batch.query)), []
    with torch.no_grad():
        for layer in [None, *model.sequence()]:
            hidden = hidden if layer is None else layer(hidden)
            losses.append(half_mean_squared_error(model.predict(hidden), batch.target))
    return torch.stack(losses)


def iterated(subjects: Sequence[Subject], num_tasks: int, num_applications: int, dampening: float) -> dict[str, Any]:
    """Compare each transformer, dampened, with as many gradient steps whose learning rate is dampened too.

    Args:
        subjects: one for each seed.
        num_tasks: on how many tasks.
        num_applications: of each layer.
        dampening: of the transformer's updates and of the learning rate.

    Returns:
        ``losses``: for ``transformer`` and ``gd`` a list over seeds of lists over applications, from none on.
    """
    losses: dict[str, list[list[float]]] = {"transformer": [], "gd": []}
    for subject in subjects:
        batch = subject.task.sample(num_tasks, named_generator(subject.seed, "iterated"), subject.dtype)
        gradient_descent = subject.references["gd"]
        assert isinstance(gradient_descent, Transformer)
        for name, layer in (("transformer", subject.transformer), ("gd", gradient_descent)):
            model = iterate(layer, num_applications, dampening)
            losses[name].append(losses_per_application(model, batch).tolist())
    return {"dampening": dampening, "losses": losses}

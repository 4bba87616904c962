r"""Linear probes of a transformer's layers: what can be read from its tokens, layer by layer.

Von Oswald et al. 2023b, section 4: where a deep model solves least squares, its layers first precondition the inputs,
:math:`R_t s_t` with :math:`R_t = (\sum_{j \le t} s_{j-1} s_{j-1}^T + \lambda I)^{-1}`, and then need one step of
gradient descent. The more of that a layer has done, the better a linear map reads it from the layer's tokens.
"""

from typing import Any

import torch
from torch import Tensor

from iclgd.analysis.sequences.controls import Controls
from iclgd.data.seeding import named_generator
from iclgd.data.sequences import SequenceBatch
from iclgd.models.sequences import SequenceTransformer
from iclgd.models.sequences.solvers import direct
from iclgd.models.sequences.tokens import shifted

BATCH = 256
RELATIVE_RIDGE = 1e-6  # of a probe, beside the mean square of its channels: some of them are always zero
NUM_RESAMPLES = 200
TARGETS = {
    "preconditioned": "inputs multiplied by the inverse of the past's second moment",
    "next_state": "the next observation",
}


@torch.no_grad()
def probes(model: SequenceTransformer, controls: Controls, batch: SequenceBatch, seed: int) -> dict[str, Any]:
    """Return how well linear probes of each layer read each of ``TARGETS``, as shares of explained variance.

    A probe is fitted at each position on the first half of the sequences, and measured on the second. The mean over
    positions begins where there are as many steps as inputs.

    Args:
        model: whose tokens are looked at.
        controls: whose inputs and regularization make the second moment.
        batch: sequences, in both halves more than a token has channels.
        seed: of the resamples of sequences, whose 2.5th and 97.5th percentiles are the interval.
    """
    states: list[list[Tensor]] = []
    preconditioned = []
    for part in batch.split(BATCH):
        states.append([each.double() for each in model.hidden_states(part.inputs)])
        preconditioned.append(preconditioned_inputs(controls, part.inputs))
    layers = [torch.cat(of_layer) for of_layer in zip(*states, strict=True)]
    targets = {"preconditioned": torch.cat(preconditioned), "next_state": batch.targets.double()}
    first = min(targets["preconditioned"].shape[-1], batch.inputs.shape[1] - 1)
    resamples = _resamples(len(batch.inputs) - len(batch.inputs) // 2, seed)
    return {
        "num_sequences": len(batch.inputs),
        "regularization": controls.regularization,
        "first_position": first,
        "targets": {
            name: [_explained(layer, target, first, resamples) for layer in layers] for name, target in targets.items()
        },
    }


def preconditioned_inputs(controls: Controls, observations: Tensor) -> Tensor:
    """Return the inputs times the inverse of the second moment of those before, (B, T, D), in double precision."""
    inputs = controls.inputs(observations).double()
    before = shifted(inputs)
    moment = torch.einsum("btd,bte->btde", before, before).cumsum(1)
    identity = torch.eye(inputs.shape[-1], dtype=torch.float64)
    return direct(moment + controls.regularization * identity, inputs)


def _resamples(num_sequences: int, seed: int) -> Tensor:
    """Return how often each sequence occurs in each resample, (R, B)."""
    generator = named_generator(seed, "probes")
    drawn = torch.randint(num_sequences, (NUM_RESAMPLES, num_sequences), generator=generator)
    counts = torch.zeros(NUM_RESAMPLES, num_sequences, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones_like(counts))


def _explained(tokens: Tensor, target: Tensor, first: int, resamples: Tensor) -> dict[str, Any]:
    """Return the explained share at each position, and its mean over positions with an interval."""
    residual, total = held_out_squares(tokens, target)
    by_position = 1 - residual.sum(0) / total.sum(0)
    means = (1 - (resamples @ residual) / (resamples @ total))[:, first:].mean(1)
    low, high = means.quantile(means.new_tensor([0.025, 0.975])).tolist()
    return {"mean": by_position[first:].mean().item(), "low": low, "high": high, "by_position": by_position.tolist()}


def held_out_squares(tokens: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return squared residuals of linear probes, and squared distances from the mean, of the second half of sequences.

    Args:
        tokens: (B, T, C).
        target: (B, T, D).

    Returns:
        Of shape (B - B // 2, T) each.
    """
    half = len(tokens) // 2
    x, y = tokens.transpose(0, 1), target.transpose(0, 1)  # positions first
    mean_x, mean_y = x[:, :half].mean(1, keepdim=True), y[:, :half].mean(1, keepdim=True)
    x, y = x - mean_x, y - mean_y
    fitted, asked = x[:, :half], x[:, half:]
    gram = fitted.mT @ fitted
    ridge = RELATIVE_RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=torch.finfo(gram.dtype).tiny)
    gram = gram + ridge[:, None, None] * torch.eye(gram.shape[-1], dtype=gram.dtype)
    weights = torch.linalg.solve_ex(gram, fitted.mT @ y[:, :half]).result
    residual = y[:, half:] - asked @ weights
    return residual.square().sum(-1).T, y[:, half:].square().sum(-1).T

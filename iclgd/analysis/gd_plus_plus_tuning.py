"""GD++ tuned by gradient descent, as the published code does it (``train_gd_whitening``)."""

import torch
from torch import Tensor

from iclgd.analysis.gradients import clip_by_global_norm, training_loss
from iclgd.data import RegressionTask
from iclgd.models.attention import SelfAttention
from iclgd.models.constructions import gd_plus_plus_transformer
from iclgd.models.transformer import Transformer, TransformerConfig

SCAN = torch.arange(0.001, 25, 0.1).tolist()  # of the published code's ``lr``
NUM_SCAN_TASKS = 2000
BATCH_SIZE = 512
LEARNING_RATE = 3e-4
GRADIENT_CLIP = 10.0


def tuned_as_published(
    task: RegressionTask, config: TransformerConfig, num_steps: int, generator: torch.Generator
) -> Transformer:
    """Return GD++ as a transformer whose diagonals were scanned, then trained with Adam.

    Args:
        task: where to draw tasks.
        config: number of layers, whether they share weights, bound of their activations.
        num_steps: of Adam; published are 1000 for shared weights and 30000 otherwise.
        generator: of the tasks.
    """
    batch = task.sample(NUM_SCAN_TASKS, generator)

    def constructed(rate: float) -> Transformer:
        depth = 1 if config.recurrent else config.num_layers
        rates, gammas = [rate / task.num_context] * depth, [rate / task.num_context**2] * depth
        return gd_plus_plus_transformer(
            task.input_dim, rates, gammas, task.output_dim, config.num_layers, clip=config.clip
        )

    with torch.no_grad():
        losses = [training_loss(constructed(rate), batch).nan_to_num(torch.inf) for rate in SCAN]
    model = constructed(SCAN[int(torch.stack(losses).argmin())]).requires_grad_()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(num_steps):
        optimizer.zero_grad()
        torch.autograd.backward(training_loss(model, task.sample(BATCH_SIZE, generator)))
        for layer in model.sequence(len(model.layers)):
            keep_diagonals_(layer.attention, task.input_dim)
        clip_by_global_norm(list(model.parameters()), GRADIENT_CLIP)
        optimizer.step()
    return model.requires_grad_(False)


@torch.no_grad()
def keep_diagonals_(attention: SelfAttention, input_dim: int) -> None:
    """Change the gradients such that GD++ remains GD++.

    Queries and keys stay. Of values and projection only the diagonal moves, its inputs' part as one: by the sum over
    that part divided by ``input_dim^2``, as published.

    Args:
        attention: a constructed layer whose gradients have been computed.
        input_dim: D.
    """
    for name in ("query", "key"):
        attention.get_parameter(name).grad = torch.zeros_like(attention.get_parameter(name))
    for name in ("value", "linear"):
        gradient = attention.get_parameter(name).grad
        assert gradient is not None
        diagonal: Tensor = gradient[0].diagonal().clone()
        diagonal[:input_dim] = diagonal[:input_dim].sum() / input_dim**2
        gradient[0] = torch.diag(diagonal)

"""Where numbers stopped being finite, for one line each: what rests on them is NaN, and never an answer."""

import torch
from torch import Tensor

from iclgd.analysis.finetune import Finetuned
from iclgd.terminal import say


class LossWatch:
    """Names the first step of a training whose loss is not finite: all later numbers follow from it."""

    def __init__(self) -> None:
        self._is_over = False

    def look(self, losses: Tensor, steps_before: int) -> None:
        """Look at the losses of a stretch of steps; say so, once, if one is not finite.

        Args:
            losses: of P steps, (P, ...).
            steps_before: how many steps came before.
        """
        if self._is_over or bool(losses.isfinite().all()):
            return
        self._is_over = True
        position = int((~losses.isfinite()).flatten(1).any(1).nonzero()[0])
        say(
            f"warning: the training loss is not finite from step {steps_before + position + 1} on; "
            "try a smaller training.learning_rate"
        )


def finetuning_failure(finetuned: Finetuned) -> str | None:
    """Return from which demonstration on finetuning is not finite; ``None`` if it is."""
    losses = torch.stack(finetuned.losses)
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        position = int(bad[0])
        return f"from demonstration {position + 1} of {len(losses)} on (loss {losses[position].item()})"
    wholes = [whole for of_layer in finetuned.parameters for whole in of_layer.values()]
    if all(bool(whole.isfinite().all()) for whole in wholes):
        return None
    return f"after demonstration {len(losses)} of {len(losses)} (weights)"


def first_failure(counts: Tensor) -> str | None:
    """Return where the numbers of a setting are not finite first; ``None`` if they are.

    Args:
        counts: how often each layer, and last the scores, were not finite, shape ``(L + 1,)``.

    Example:
        >>> first_failure(torch.tensor([0, 3, 3, 3]))
        'from layer 1 on'
        >>> first_failure(torch.tensor([0, 0, 0, 1]))
        'after the last attention layer'
    """
    positions = counts.nonzero()
    if not len(positions):
        return None
    position = int(positions[0])
    return f"from layer {position} on" if position < len(counts) - 1 else "after the last attention layer"

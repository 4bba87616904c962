"""Where numbers stopped being finite, for one line each: what rests on them is NaN, and never an answer."""

import torch
from torch import Tensor

from iclgd.analysis.finetune import Finetuned


def finetuning_failure(finetuned: Finetuned) -> str | None:
    """Return from which demonstration on finetuning is not finite; ``None`` if it is."""
    losses = torch.stack(finetuned.losses)
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        place = int(bad[0])
        return f"from demonstration {place + 1} of {len(losses)} on (loss {losses[place].item()})"
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
    places = counts.nonzero()
    if not len(places):
        return None
    place = int(places[0])
    return f"from layer {place} on" if place < len(counts) - 1 else "after the last attention layer"

"""Logits at chosen positions alone: for a large vocabulary they are most of what a short prompt costs."""

import contextlib
from collections.abc import Callable, Iterator

from torch import Tensor, nn

from iclgd.models.language import LanguageModel


@contextlib.contextmanager
def logits_at(model: LanguageModel, positions: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let the model make logits at some positions only within the block.

    transformers' own ``logits_to_keep`` takes the same positions of all prompts.

    Args:
        model: any language model.
        positions: takes from hidden states ``(B, T, C)`` those that get logits.

    Example:
        >>> import torch
        >>> from iclgd.models import load_language_model, wrap
        >>> model = wrap("embedded", load_language_model("embedded")[0])
        >>> with logits_at(model, lambda hidden: hidden[:, :-1]):
        ...     model.model(input_ids=torch.tensor([[5, 6, 7]])).logits.shape
        torch.Size([1, 2, 162])
    """

    def keep_positions(_head: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (positions(inputs[0]),)

    hook = model.model.get_output_embeddings().register_forward_pre_hook(keep_positions)
    try:
        yield
    finally:
        hook.remove()

"""Which input tokens a first layer copies into a token; [vO] section 4."""

import torch
from torch import Tensor

from iclgd.models.transformer import Transformer


def first_layer_gradients(transformer: Transformer, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    r"""Sum over tasks how each token after the first layer depends on each input token.

    .. math:: \sum_b \frac{\partial \sum_c h^{(1)}_{b k c}}{\partial e_{b j}}

    Args:
        transformer: any; its tokens are taken before embedding and positional encoding.
        x: context inputs, (B, N, D).
        y: context targets, (B, N, O).
        query: query inputs, (B, D).

    Returns:
        The gradients, (T - 2, T, C): for all tokens k but the last target and the query, by all tokens j.

    Example:
        >>> from iclgd.models import TransformerConfig
        >>> transformer = Transformer(TransformerConfig(), input_dim=3).initialize(torch.Generator())
        >>> first_layer_gradients(transformer, torch.ones(2, 4, 3), torch.ones(2, 4, 1), torch.ones(2, 3)).shape
        torch.Size([3, 5, 4])
    """
    with torch.enable_grad():
        tokens = transformer.tokens(x, y, query).detach().requires_grad_()
        (first,) = transformer.sequence(1)
        sums = first(transformer.embed(tokens)).sum((1, 2))  # over channels, and over tasks, which do not interact
        gradients = [torch.autograd.grad(sums[k], tokens, retain_graph=True)[0] for k in range(len(tokens) - 2)]
    return torch.stack([gradient.sum(-1) for gradient in gradients])

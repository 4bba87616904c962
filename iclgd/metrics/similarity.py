r"""How alike in-context learning and finetuning of a language model are: vectors; [Dai], [Deutch].

[Dai]: Dai et al. 2023, "Why can GPT learn in-context?"; [Deutch]: Deutch et al. 2024, "In-context learning and gradient
descent revisited". Three passes over the same query are compared: *zero-shot* (the model, the query alone),
*in-context* (the model, demonstrations and query) and *finetuned* (the model trained on the demonstrations, the query
alone). What is compared belongs to the query's last token.

Shapes: B queries, L layers, C channels, H heads, T tokens of the padded query, E channels of a head. Everything is
computed in double precision and returns one value per query and layer, (B, L). A cosine with a zero vector is 0, with
one that is not finite NaN.
"""

import torch
from torch import Tensor

from iclgd.metrics.shapes import check_same_shape, check_shape


def cosine(first: Tensor, second: Tensor) -> Tensor:
    r"""Return the cosine along the last axis, 0 if a vector is zero, NaN if one is not finite.

    .. math:: \cos(a, b) = \frac{a}{|a|} \cdot \frac{b}{|b|}

    Vectors are brought to length 1 without squaring small numbers, so that the direction of a tiny vector counts.

    Args:
        first: (..., C).
        second: (..., C).

    Returns:
        float64, (...).

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> tiny_and_zero = torch.tensor([[1e-200, 0.0], [0.0, 0.0]], dtype=torch.float64)
        >>> cosine(tiny_and_zero, torch.tensor([[3.0, 4.0], [3.0, 4.0]]))
        tensor([0.6000, 0.0000], dtype=torch.float64)
    """
    check_same_shape(first=first, second=second)
    return (_unit(first) * _unit(second)).sum(-1)


def sim_aou(zero_shot: Tensor, in_context: Tensor, finetuned: Tensor) -> Tensor:
    r"""Similarity of attention output updates, [Dai] section 4.

    .. math:: \cos(\bar h_\text{ICL} - \bar h_\text{ZSL},\; \bar h_\text{FT} - \bar h_\text{ZSL}),
        \quad \bar h = h / |h|

    As published, each output is normalised before the subtraction; a zero output stays zero.

    Args:
        zero_shot: outputs of the attention blocks, before the residual connection, (B, L, C).
        in_context: the same with the demonstrations as context, (B, L, C).
        finetuned: the same after finetuning, (B, L, C).

    Returns:
        float64, (B, L).

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> zero_shot, in_context, finetuned = torch.eye(3)[:, None, None]  # (1, 1, 3) each
        >>> sim_aou(zero_shot, 7 * in_context, finetuned)
        tensor([[0.5000]], dtype=torch.float64)
    """
    check_same_shape(zero_shot=zero_shot, in_context=in_context, finetuned=finetuned)
    start = _unit(zero_shot)
    return cosine(_unit(in_context) - start, _unit(finetuned) - start)


def random_sim_aou(zero_shot: Tensor, in_context: Tensor, updates: Tensor) -> Tensor:
    r"""Similarity of the in-context update with a random one: the baseline of :func:`sim_aou`; [Dai] section 4.

    .. math:: \cos(\bar h_\text{ICL} - \bar h_\text{ZSL},\; u), \quad \bar h = h / |h|

    Args:
        zero_shot: outputs of the attention blocks, (B, L, C).
        in_context: the same with the demonstrations as context, (B, L, C).
        updates: random numbers, (B, L, C); see :func:`iclgd.metrics.random_updates`.

    Returns:
        float64, (B, L).

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> zero_shot, in_context = torch.eye(2)[:, None, None]
        >>> random_sim_aou(zero_shot, in_context, torch.tensor([[[0.0, 3.0]]]))
        tensor([[0.7071]], dtype=torch.float64)
    """
    check_same_shape(zero_shot=zero_shot, in_context=in_context, updates=updates)
    return cosine(_unit(in_context) - _unit(zero_shot), updates)


def sim_am(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    r"""Similarity of attention maps, [Dai] section 4.

    .. math:: \frac{1}{H} \sum_h \cos(m_h, m'_h)

    The scores are those before the softmax, of the last token over the query's own tokens; no constant is removed.

    Args:
        first: scores of one pass, (B, L, H, T).
        second: scores of another, (B, L, H, T).
        mask: true at the query's own tokens, boolean, (B, T), or (B, L, T) where a layer's window or chunk hides some
            of them: those that both passes see. What stands elsewhere (even infinity) does not count.

    Returns:
        float64, (B, L).

    Raises:
        ValueError: if shapes do not fit or the mask is not boolean.

    Example:
        >>> first, second = torch.tensor([1.0, 0.0, 5.0]), torch.tensor([1.0, 1.0, -5.0])
        >>> mask = torch.tensor([[True, True, False]])
        >>> sim_am(first.view(1, 1, 1, 3), second.view(1, 1, 1, 3), mask)
        tensor([[0.7071]], dtype=torch.float64)
    """
    check_same_shape(first=first, second=second)
    return cosine(_masked(first, mask), _masked(second, mask)).mean(-1)


def sim_am_delta(zero_shot: Tensor, in_context: Tensor, finetuned: Tensor, mask: Tensor) -> Tensor:
    r"""Similarity of the changes of attention maps, the difference form of :func:`sim_am`; [Deutch].

    .. math:: \frac{1}{H} \sum_h \cos(m_{\text{ICL},h} - m_{\text{ZSL},h},\; m_{\text{FT},h} - m_{\text{ZSL},h})

    Unlike :func:`sim_am` it is not high merely because neither learning changes the map.

    Args:
        zero_shot: scores before the softmax, (B, L, H, T).
        in_context: the same with the demonstrations as context, over the query's own tokens, (B, L, H, T).
        finetuned: the same after finetuning, (B, L, H, T).
        mask: true at the query's own tokens, boolean, (B, T), or (B, L, T): those that all three passes see.

    Returns:
        float64, (B, L).

    Raises:
        ValueError: if shapes do not fit or the mask is not boolean.

    Example:
        >>> zero_shot, in_context, finetuned = torch.tensor([[9.0, 9.0], [9.0, 8.0], [8.0, 8.0]]).view(3, 1, 1, 1, 2)
        >>> sim_am_delta(zero_shot, in_context, finetuned, torch.tensor([[True, True]]))
        tensor([[0.7071]], dtype=torch.float64)
    """
    check_same_shape(zero_shot=zero_shot, in_context=in_context, finetuned=finetuned)
    start = _masked(zero_shot, mask)
    return cosine(_masked(in_context, mask) - start, _masked(finetuned, mask) - start).mean(-1)


def update_similarity(in_context: Tensor, finetuned: Tensor) -> Tensor:
    r"""Similarity of the weight updates as the query sees them, [Dai] section 3.

    .. math:: \frac{1}{H} \sum_h \cos(\Delta W_{\text{ICL},h}\, q,\; \Delta W_{\text{FT},h}\, q)

    Args:
        in_context: what the demonstrations add to each head's output, (B, L, H, E).
        finetuned: what finetuning adds to it, (B, L, H, E).

    Returns:
        float64, (B, L).

    Raises:
        ValueError: if the shapes differ or are not (B, L, H, E).

    Example:
        >>> in_context = torch.tensor([[[[1.0, 0.0], [0.0, 2.0]]]])  # two heads
        >>> update_similarity(in_context, torch.tensor([[[[3.0, 0.0], [1.0, 0.0]]]]))
        tensor([[0.5000]], dtype=torch.float64)
    """
    check_same_shape(in_context=in_context, finetuned=finetuned)
    check_shape("in_context", in_context, "(B, L, H, E)", in_context.dim() == 4)
    return cosine(in_context, finetuned).mean(-1)


def _unit(vectors: Tensor) -> Tensor:
    """Bring vectors to length 1; zero stays zero."""
    vectors = vectors.double()
    largest = vectors.abs().amax(-1, keepdim=True)
    scaled = vectors / torch.where(largest > 0, largest, 1.0)
    norms: Tensor = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    return scaled / norms.clamp(min=1.0)  # at least 1, as the largest entry is 1; below only for a zero vector


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """Set scores (B, L, H, T) to zero where the mask, (B, T) or (B, L, T), is false."""
    check_shape("scores", scores, "(B, L, H, T)", scores.dim() == 4)
    size, num_layers, _, length = scores.shape
    if mask.dim() == 3:
        expected = (size, num_layers, length)
        check_shape("mask", mask, f"(B, L, T) = {expected}", mask.shape == expected)
    else:
        check_shape("mask", mask, f"(B, T) = {(size, length)}", mask.shape == (size, length))
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be boolean, got {mask.dtype}")
    mask = mask[:, None] if mask.dim() == 2 else mask
    return scores.double().masked_fill(~mask[:, :, None], 0.0)

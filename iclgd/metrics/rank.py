r"""How alike in-context learning and finetuning attend to the demonstrations; [Dai] section 4.

Shapes: B queries, L layers, N kept demonstration tokens (or demonstrations), D width of a query vector (heads
concatenated). Everything is computed in double precision: in single precision the softmax of widely spread scores
underflows, which makes ties and changes ranks.

A window or chunk hides tokens of the context from a query in a layer. Nobody attends to them, and they are in no
softmax, sum or ranking: functions take where attention is possible, ``visible``, and ``None`` means everywhere.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from iclgd.metrics.shapes import check_same_shape, check_shape, check_visible

# Numbers in a work array of kendall_tau: a share of a CPU's cache; enough to occupy a GPU with a few hundred MB.
CPU_CHUNK = 2**16
GPU_CHUNK = 2**22


def finetuned_scores(training_queries: Tensor, test_queries: Tensor) -> Tensor:
    r"""Return the scores that finetuning gives to the training tokens, [Dai] section 4.

    .. math:: F_{bln} = q_{ln} \cdot q_{bl}

    the inner products of the attention queries of training tokens and of test positions, heads concatenated. They are
    rounded to 2^-40 of the largest: the same token in two demonstrations may have the same query, and the order in
    which a product is summed must not decide which of the two has the higher score.

    Args:
        training_queries: attention queries of the training tokens, divided by the root of the head size, (L, N, D).
        test_queries: the same of each query's last token, (B, L, D).

    Returns:
        float64, (B, L, N).

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> finetuned_scores(torch.tensor([[[1.0, 2.0], [0.0, 1.0]]]), torch.tensor([[[3.0, 1.0]]]))
        tensor([[[5., 1.]]], dtype=torch.float64)
    """
    check_shape("training_queries", training_queries, "(L, N, D)", training_queries.dim() == 3)
    expected = (len(training_queries), training_queries.shape[-1])
    matches = test_queries.dim() == 3 and test_queries.shape[1:] == expected
    check_shape("test_queries", test_queries, f"(B, L, D) = (B, {expected[0]}, {expected[1]})", matches)
    scores = torch.einsum("lnd,bld->bln", training_queries.double(), test_queries.double())
    exponent = torch.frexp(scores.abs().amax(-1, keepdim=True)).exponent
    return torch.ldexp(torch.ldexp(scores, 40 - exponent).round(), exponent - 40)


def demonstration_attention(scores: Tensor, visible: Tensor | None = None) -> Tensor:
    r"""Return the softmax over the demonstrations' tokens, in double precision; [Dai] section 4.

    .. math:: a_n = e^{s_n} / \sum_m e^{s_m}

    Args:
        scores: (..., N).
        visible: over which tokens, boolean, of the same shape.

    Returns:
        float64, (..., N); 0 at hidden tokens, also where all are hidden.

    Raises:
        ValueError: if the shapes differ or ``visible`` is not boolean.

    Example:
        >>> demonstration_attention(torch.tensor([0.0, 0.0, -300.0])).tolist()[2] > 0  # zero in single precision
        True
        >>> demonstration_attention(torch.tensor([9.0, 0.0, 0.0]), torch.tensor([False, True, True]))
        tensor([0.0000, 0.5000, 0.5000], dtype=torch.float64)
    """
    if visible is None:
        return torch.softmax(scores.double(), -1)
    check_visible(visible, scores=scores)
    hidden = ~visible
    return torch.softmax(scores.double().masked_fill(hidden, -math.inf), -1).masked_fill(hidden, 0.0)


def example_sums(weights: Tensor, lengths: Sequence[int]) -> Tensor:
    r"""Sum over each demonstration's consecutive tokens.

    .. math:: w_e = \sum_{n \in e} a_n

    Args:
        weights: (..., N).
        lengths: number of tokens of each demonstration, with the sum N.

    Returns:
        float64, (..., len(lengths)).

    Raises:
        ValueError: if the lengths do not add up to N or one is negative.

    Example:
        >>> example_sums(torch.tensor([0.1, 0.2, 0.7]), [2, 1])
        tensor([0.3000, 0.7000], dtype=torch.float64)
    """
    lengths = list(lengths)
    if sum(lengths) != weights.shape[-1] or min(lengths, default=0) < 0:
        raise ValueError(f"lengths must be non-negative with the sum {weights.shape[-1]}, got {lengths}")
    return torch.stack([part.sum(-1) for part in torch.split(weights.double(), lengths, -1)], -1)


def top_k_recall(first: Tensor, second: Tensor, k: int, visible: Tensor | None = None) -> Tensor:
    r"""Return the share of first's k largest entries that is among second's k largest; [Dai] section 4.

    .. math:: \frac{|\operatorname{top}_k(a) \cap \operatorname{top}_k(b)|}{k}

    With k above the number of (visible) entries, k is that number and the share 1; without any it is 0. NaN in a row
    makes its share NaN.

    Which of several equal entries at the border is taken is not specified; it matters where a softmax underflows and
    leaves fewer than k entries above zero. On a CPU numpy's order of sorting decides, which reproduces the published
    numbers.

    Args:
        first: (..., N).
        second: (..., N).
        k: at least 1.
        visible: among which entries, boolean, of the same shape.

    Returns:
        float64, (...).

    Raises:
        ValueError: if the shapes differ, ``visible`` is not boolean, or k is below 1.

    Example:
        >>> first, second = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([4.0, 1.0, 2.0, 3.0])
        >>> top_k_recall(first, second, 2)
        tensor(0.5000, dtype=torch.float64)
        >>> top_k_recall(first, second, 2, visible=torch.tensor([False, True, True, True]))
        tensor(1., dtype=torch.float64)
    """
    check_same_shape(first=first, second=second)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    k = min(k, first.shape[-1])
    if visible is not None:
        check_visible(visible, first=first)
        first, second = (each.detach().double().masked_fill(~visible, -math.inf) for each in (first, second))
    first_largest, second_largest = (_argsort(-each.detach().double())[..., :k] for each in (first, second))
    is_largest = torch.zeros(second.shape, dtype=torch.float64, device=second.device)
    is_largest.scatter_(-1, second_largest, 1.0)
    is_shared = is_largest.gather(-1, first_largest)
    if visible is None:
        shares = is_shared.mean(-1)
    else:
        shares = (is_shared * visible.gather(-1, first_largest)).sum(-1) / visible.sum(-1).clamp(1, k)
    return shares.masked_fill((first.isnan() | second.isnan()).any(-1), math.nan)


def kendall_tau(first: Tensor, second: Tensor, visible: Tensor | None = None) -> Tensor:
    r"""Return Kendall's rank correlation tau-b along the last axis.

    .. math:: \tau = \frac{P - Q}{\sqrt{(n_0 - n_1) (n_0 - n_2)}}, \quad n_0 = \frac{N (N - 1)}{2}

    with P concordant and Q discordant pairs, and :math:`n_1, n_2` pairs tied in either (Kendall 1945).

    If one of them is constant, or N < 2, tau is 0 by rule. NaN in a row makes its tau NaN.

    Args:
        first: (..., N).
        second: (..., N).
        visible: which of the N are ranked, boolean, of the same shape; the others do not count.

    Returns:
        float64, (...).

    Raises:
        ValueError: if the shapes differ or ``visible`` is not boolean.

    Example:
        >>> kendall_tau(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0]))
        tensor(0.3333, dtype=torch.float64)
        >>> kendall_tau(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([9.0, 3.0, 2.0]), torch.arange(3) > 0)
        tensor(-1., dtype=torch.float64)
    """
    check_same_shape(first=first, second=second)
    num_hidden = torch.zeros(math.prod(first.shape[:-1]), dtype=torch.long, device=first.device)
    if visible is not None:
        check_visible(visible, first=first)
        num_hidden = (~visible).sum(-1).reshape(-1)
        first, second = (each.detach().double().masked_fill(~visible, -math.inf) for each in (first, second))
    *shape, length = first.shape
    taus = torch.zeros(math.prod(shape), dtype=torch.float64, device=first.device)
    if length > 1:
        step = max(1, (GPU_CHUNK if first.is_cuda else CPU_CHUNK) // length)
        first, second = first.detach().reshape(-1, length), second.detach().reshape(-1, length)
        for start in range(0, len(taus), step):
            rows = slice(start, start + step)
            taus[rows] = _kendall_of_rows(first[rows].double(), second[rows].double(), num_hidden[rows])
    return taus.view(shape)


def _kendall_of_rows(first: Tensor, second: Tensor, num_hidden: Tensor) -> Tensor:
    """Knight's algorithm: order by (first, second), then every inversion left in second is a discordant pair.

    Hidden numbers (in a row, ``num_hidden``) are minus infinity in both, and the visible ones are not: every pair of a
    hidden and a visible one is concordant, so many are taken off again, and pairs of hidden ones are ties in both.
    """
    length = first.shape[-1]
    order = _argsort(first)
    first_ties = _neighbours_equal(first.gather(-1, order))
    if first_ties.any():
        by_second = _argsort(second)
        order = by_second.gather(-1, first.gather(-1, by_second).argsort(dim=-1, stable=True))
    arranged = second.gather(-1, order)
    permutation = _argsort(arranged)
    second_ties = _neighbours_equal(arranged.gather(-1, permutation))
    if second_ties.any():  # equal ones must keep their order: they are not inverted
        permutation = arranged.argsort(dim=-1, stable=True)
    both_ties = first_ties & _neighbours_equal(arranged)

    pairs = length * (length - 1) // 2
    beyond = num_hidden * (length - num_hidden)
    first_untied, second_untied = (pairs - beyond - _tied_pairs(ties) for ties in (first_ties, second_ties))
    concordant_and_discordant = first_untied + second_untied - (pairs - beyond) + _tied_pairs(both_ties)
    difference = (concordant_and_discordant - 2 * _inversions(permutation)).double()
    taus = difference / (first_untied.double() * second_untied).sqrt()
    taus = taus.clamp(-1.0, 1.0).masked_fill((first_untied == 0) | (second_untied == 0), 0.0)
    return taus.masked_fill((first.isnan() | second.isnan()).any(-1), math.nan)


def _argsort(values: Tensor) -> Tensor:
    """Sort without regard to the order of equal values."""
    if values.device.type == "cpu":  # numpy sorts with vector instructions: five times as fast as PyTorch here
        return torch.from_numpy(values.numpy().argsort(axis=-1))
    return values.argsort(dim=-1)


def _neighbours_equal(values: Tensor) -> Tensor:
    return values[:, 1:] == values[:, :-1]


def _tied_pairs(same: Tensor) -> Tensor:
    """Count pairs within runs of equal values, from whether each of N - 1 is equal to its predecessor."""
    if not same.any():
        return torch.zeros(len(same), dtype=torch.long, device=same.device)
    places = torch.arange(1, same.shape[-1] + 1, device=same.device)
    run_starts = torch.where(same, 0, places).cummax(-1).values
    return (places - run_starts).sum(-1)


def _inversions(permutations: Tensor) -> Tensor:
    """Count the inversions of permutations (rows, N).

    Places and values are cut into W = sqrt(N) stretches each. Inverted pairs lie in one stretch of places (compared
    directly, W N comparisons), or else in one stretch of values (likewise), or differ in both stretches: those follow
    from a table of counts (W x W) and its sums. Comparing all pairs would take N/W/2 times as long, and merging from
    the bottom up takes log N passes of sorting; here PyTorch does everything in few operations on whole chunks.
    """
    rows, length = permutations.shape
    width = math.isqrt(length - 1) + 1
    size = width * width
    beyond = torch.arange(length, size, device=permutations.device).expand(rows, -1)  # not inverted with anything
    values = torch.cat([permutations, beyond], -1)
    places = torch.empty_like(values)
    places.scatter_(-1, values, torch.arange(size, device=values.device).expand(rows, -1))

    # A place in its stretch comes first, rows last: comparisons at any distance are then of contiguous numbers.
    small = torch.int16 if size < 2**15 else torch.int32
    in_places = _inversions_in_stretches(values.to(small).T.reshape(width, width, rows).transpose(0, 1).contiguous())
    stretch_of_place = (places // width).to(small)
    in_values = _inversions_in_stretches(stretch_of_place.T.reshape(width, width, rows).transpose(0, 1).contiguous())

    cells = torch.arange(size, device=values.device) // width * width + values // width
    table = torch.zeros(rows, size, dtype=torch.float64, device=values.device)
    table = table.scatter_add_(-1, cells, table.new_ones(()).expand(rows, size)).view(rows, width, width)
    strictly_below = table.new_ones(width, width).tril(-1)
    earlier_and_larger = strictly_below @ table @ strictly_below
    return in_places + in_values + earlier_and_larger.mul_(table).sum((1, 2)).long()


def _inversions_in_stretches(stretches: Tensor) -> Tensor:
    """Count i < j with a larger value at i, within stretches (W, stretches, rows); summed over stretches."""
    counts = torch.zeros_like(stretches)
    for distance in range(1, len(stretches)):
        counts[distance:] += stretches[:-distance] > stretches[distance:]
    return counts.sum((0, 1))

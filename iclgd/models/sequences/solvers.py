r"""What textbook learners predict at every position of a sequence, of which all steps before are examples.

Conventions of von Oswald et al. 2023b's code: what was before the start is zero. Their control leaves out the newest
step :math:`s_{t-1} \to s_t`, which attention and gradient descent do see; here that is a choice.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from iclgd.models.sequences.linear_attention import linear_attention
from iclgd.models.sequences.tokens import lagged_tokens, shifted

BATCH = 256  # sequences whose matrices of all positions are in memory together
Solve = Callable[[Tensor, Tensor], Tensor]  # matrices (B, T, D, D) and right-hand sides (B, T, D) -> (B, T, D)


def direct(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve equations; of a singular matrix the result is not finite, without an exception."""
    solution: Tensor = torch.linalg.solve_ex(matrix, right[..., None]).result
    return solution.squeeze(-1)


def least_squares(
    x: Tensor,
    y: Tensor,
    query: Tensor,
    regularization: float,
    *,
    with_newest: bool = True,
    solve: Solve = direct,
) -> Tensor:
    r"""Predict by ridge regression at every position.

    .. math:: q_t^T \Big( \sum_j x_j x_j^T + \lambda I \Big)^{-1} \sum_j x_j y_j^T

    Args:
        x: inputs, (B, T, D).
        y: targets, (B, T, O).
        query: what is asked at each position, (B, T, D).
        regularization: lambda, for the *summed* squared error.
        with_newest: whether position t learns from j = t, or but from j < t as the published control.
        solve: exact, or one of :mod:`~iclgd.models.sequences.inverses`.

    Returns:
        (B, T, O), in the type of the inputs; computed in double precision.
    """
    parts = zip(torch.split(x, BATCH), torch.split(y, BATCH), torch.split(query, BATCH), strict=True)
    return torch.cat([_least_squares(*part, regularization, with_newest, solve) for part in parts])


def _least_squares(
    x: Tensor, y: Tensor, query: Tensor, regularization: float, with_newest: bool, solve: Solve
) -> Tensor:
    inputs, targets = x.double(), y.double()
    moment = torch.einsum("btd,bte->btde", inputs, inputs).cumsum(1)
    cross = torch.einsum("btd,bto->btdo", inputs, targets).cumsum(1)
    if not with_newest:
        moment, cross = (torch.cat([torch.zeros_like(each[:, :1]), each[:, :-1]], 1) for each in (moment, cross))
    identity = torch.eye(x.shape[-1], dtype=torch.float64, device=x.device)
    weights = solve(moment + regularization * identity, query.double())
    return torch.einsum("btd,btdo->bto", weights, cross).to(x.dtype)


def next_by_least_squares(
    observations: Tensor, regularization: float, *, num_lags: int = 1, with_newest: bool = True
) -> Tensor:
    """Predict the next observation, (B, T, N), from the last ones; see :func:`least_squares`.

    Args:
        observations: (B, T, N).
        regularization: lambda.
        num_lags: how many of the last; systems that are seen in part need several.
        with_newest: as above.
    """
    tokens = lagged_tokens(observations, num_lags)
    return least_squares(shifted(tokens), observations, tokens, regularization, with_newest=with_newest)


def gradient_step(observations: Tensor, learning_rate: float, initial: Tensor | None = None) -> Tensor:
    r"""Predict the next observation by one step of gradient descent on the past, newest step included.

    .. math:: (\Phi_0 - \eta \nabla L_t) s_t, \quad L_t = \frac12 \sum_{j \le t} |s_j - \Phi_0 s_{j-1}|^2

    Args:
        observations: (B, T, N).
        learning_rate: eta, for the *summed* loss.
        initial: Phi_0, (N, N); zero if ``None``.
    """
    before = shifted(observations)
    errors, start = observations, torch.zeros_like(observations)
    if initial is not None:
        errors, start = observations - before @ initial.T, observations @ initial.T
    return start + learning_rate * linear_attention(observations, before, errors)


def sequence_losses(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the loss at each position of each sequence, (B, T): half the squared error, summed over coordinates."""
    return 0.5 * (prediction - target).square().sum(-1)

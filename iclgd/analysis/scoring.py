"""What attention makes of the scaled inner products of queries and keys before the softmax, beyond them themselves."""

from dataclasses import dataclass

from torch import Tensor

from iclgd.analysis.precision import at_least_single


@dataclass(frozen=True)
class Scoring:
    """Soft caps (Gemma 2, arXiv 2408.00118, section 2) and linear biases (ALiBi, Press et al. 2022, arXiv 2108.12409).

    Args:
        softcap: c of ``c * tanh(score / c)``; ``None``: no cap.
        bias: what is added to the scores of each head with each token, whatever the query, shape
            ``(B or 1, H, N + T)``; ``None``: nothing.

    Example:
        >>> import torch
        >>> Scoring(softcap=2.0).capped(torch.tensor([0.0, 100.0]))
        tensor([0., 2.])
    """

    softcap: float | None = None
    bias: Tensor | None = None

    def capped(self, scores: Tensor) -> Tensor:
        """Return scores of any shape with the cap."""
        return scores if self.softcap is None else (scores / self.softcap).tanh() * self.softcap

    def biased(self, scores: Tensor, places: Tensor, first: int) -> Tensor:
        """Return the scores of one query position with the bias that the distance to each token has: 0 at its own.

        Models add a bias that counts from the beginning; the softmax does not see the difference, but it would make
        scores in one setting incomparable with those in another.

        Args:
            scores: shape ``(B, H, S)``.
            places: of the query positions, among all N + T tokens, shape ``(B,)``.
            first: which of all tokens the first score belongs to.
        """
        if self.bias is None:
            return scores
        bias = at_least_single(self.bias).expand(len(scores), -1, -1)
        own = bias.gather(-1, places[:, None, None].expand(-1, bias.shape[1], 1))
        return scores + (bias - own)[..., first : first + scores.shape[-1]]


PLAIN = Scoring()

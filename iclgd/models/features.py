"""Gradient descent on the output weights of a network: linear regression on learned features."""

import torch
from torch import Tensor, nn

from iclgd.models.blocks import MLP, TokenLinear
from iclgd.models.learners import GradientDescent


class FeatureGradientDescent(nn.Module):
    r"""A network whose last, linear layer takes one gradient step on the context; [vO] section 3, appendix A.7.

    .. math:: f(x) = W_1 \phi(x), \quad W_1 = W_0 + \eta \sum_i (y_i - W_0 \phi(x_i))\, \phi(x_i)^T

    The features :math:`\phi`, an MLP as before a transformer's first layer, the initial weights :math:`W_0` and
    the learning rate :math:`\eta` are trained to make the prediction after the step good.

    Args:
        input_dim: D.
        output_dim: O.
        num_features: K.

    Example:
        >>> learner = FeatureGradientDescent(input_dim=3, output_dim=1, num_features=8)
        >>> learner = learner.initialize(1.0, torch.Generator())
        >>> learner(torch.ones(5, 4, 3), torch.ones(5, 4, 1), torch.ones(5, 3)).shape
        torch.Size([5, 1])
    """

    def __init__(self, input_dim: int, output_dim: int, num_features: int) -> None:
        super().__init__()
        self.in_projection = TokenLinear(input_dim, num_features, bias=True)
        self.perceptron = MLP(num_features, bias=True)
        self.initial_weight = nn.Parameter(torch.zeros(output_dim, num_features))
        self.learning_rate = nn.Parameter(torch.tensor(0.01))

    def initialize(self, scale: float, generator: torch.Generator) -> "FeatureGradientDescent":
        """Draw the features' weights with variance ``scale / fan_in``; biases and ``W_0`` are 0; return self."""
        self.in_projection.initialize(scale, generator)
        self.perceptron.initialize(scale, generator)
        return self

    def features(self, x: Tensor) -> Tensor:
        """Map inputs (B, N, D) to features (B, N, K)."""
        hidden = self.in_projection(x.permute(1, 2, 0))
        features: Tensor = hidden + self.perceptron(hidden)
        return features.permute(2, 0, 1)

    def forward(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Predict the query's target, (B, O), after one step; arguments as of any predictor."""
        features = self.features(torch.cat([x, query[:, None]], dim=1))
        context, query_features = features[:, :-1], features[:, -1]
        residual = y - context @ self.initial_weight.T  # (B, N, O)
        kernel = (context * query_features[:, None]).sum(-1)  # (B, N)
        # The step in its dual form: the kernel's weights of the examples' errors.
        return query_features @ self.initial_weight.T + self.learning_rate * (residual * kernel[..., None]).sum(1)

    def before(self, query: Tensor) -> Tensor:
        """Return the function before the step, ``W_0 phi(x)``: (B, D) to (B, O)."""
        return self.features(query[:, None])[:, 0] @ self.initial_weight.T

    def kernel(self, x: Tensor, query: Tensor) -> Tensor:
        """Return the kernel ``phi(x_i) . phi(x)`` of inputs (B, N, D) and queries (B, D), as (B, N)."""
        return (self.features(x) * self.features(query[:, None])).sum(-1)

    def head(self) -> GradientDescent:
        """Return the step of the output weights alone, a learner whose inputs are features."""
        return GradientDescent(self.learning_rate.item(), 1, self.initial_weight.detach())

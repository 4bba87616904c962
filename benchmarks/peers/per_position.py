"""Baselines as they are commonly written: position after position, most of them prompt after prompt.

Each takes x (B, N, D) and y (B, N) and returns the predictions (B, N), zero at position 0; each in single precision.
"""

import torch
from sklearn.linear_model import Lasso
from torch import Tensor


def least_squares(x: Tensor, y: Tensor) -> Tensor:
    predictions = torch.zeros_like(y)
    for position in range(1, y.shape[1]):
        weight = torch.linalg.lstsq(x[:, :position], y[:, :position, None]).solution
        predictions[:, position] = (x[:, position : position + 1] @ weight)[:, 0, 0]
    return predictions


def ridge(x: Tensor, y: Tensor, regularization: float) -> Tensor:
    predictions = torch.zeros_like(y)
    penalty = regularization * torch.eye(x.shape[2])
    for position in range(1, y.shape[1]):
        inputs, targets = x[:, :position], y[:, :position, None]
        weight = torch.linalg.solve(inputs.mT @ inputs + penalty, inputs.mT @ targets)
        predictions[:, position] = (x[:, position : position + 1] @ weight)[:, 0, 0]
    return predictions


def averaging(x: Tensor, y: Tensor) -> Tensor:
    predictions = torch.zeros_like(y)
    for position in range(1, y.shape[1]):
        weight = (x[:, :position] * y[:, :position, None]).mean(1)
        predictions[:, position] = (x[:, position] * weight).sum(1)
    return predictions


def nearest_neighbors(x: Tensor, y: Tensor, num_neighbors: int) -> Tensor:
    predictions = torch.zeros_like(y)
    for position in range(1, y.shape[1]):
        distances = (x[:, :position] - x[:, position : position + 1]).square().sum(2).sqrt()
        nearest = distances.argsort()[:, :num_neighbors]
        for prompt in range(len(y)):
            predictions[prompt, position] = y[prompt, nearest[prompt]].mean()
    return predictions


def discrete_mmse(x: Tensor, y: Tensor, pool: Tensor, noise_std: float) -> Tensor:
    predictions = (x[:, 0] * pool.mean(0)).sum(1)[:, None].repeat(1, y.shape[1])
    for position in range(1, y.shape[1]):
        errors = y[:, :position, None] - x[:, :position] @ pool.T
        weights = (-errors.square().sum(1) / (2 * noise_std**2)).softmax(1)
        predictions[:, position] = (x[:, position] * (weights @ pool)).sum(1)
    return predictions


def lasso(x: Tensor, y: Tensor, alpha: float) -> Tensor:
    predictions = torch.zeros_like(y)
    for position in range(1, y.shape[1]):
        for prompt in range(len(y)):
            model = Lasso(alpha=alpha, fit_intercept=False, max_iter=100_000)
            model.fit(x[prompt, :position].numpy(), y[prompt, :position].numpy())
            predictions[prompt, position] = x[prompt, position] @ torch.from_numpy(model.coef_).float()
    return predictions


def two_layer_network(x: Tensor, y: Tensor, hidden_size: int, num_steps: int, learning_rate: float) -> Tensor:
    """All prompts of a position at once, and all of its examples in every step."""
    predictions = torch.zeros_like(y)
    num_prompts, _, dim = x.shape
    for position in range(1, y.shape[1]):
        inputs, targets = x[:, :position], y[:, :position]
        shapes = (num_prompts, dim, hidden_size), (num_prompts, 1, hidden_size), (num_prompts, hidden_size, 1)
        first, bias, second = ((2 * torch.rand(shape) - 1) / shape[1] ** 0.5 for shape in shapes)
        offset = (2 * torch.rand(num_prompts, 1, 1) - 1) / hidden_size**0.5
        weights = [tensor.requires_grad_() for tensor in (first, bias, second, offset)]
        optimizer = torch.optim.Adam(weights, lr=learning_rate)
        for _ in range(num_steps):
            optimizer.zero_grad()
            hidden = (inputs @ first + bias).relu()
            loss = ((hidden @ second + offset).squeeze(2) - targets).square().mean()
            loss.backward()
            optimizer.step()
        hidden = (x[:, position : position + 1] @ first + bias).relu()
        predictions[:, position] = (hidden @ second + offset)[:, 0, 0].detach()
    return predictions

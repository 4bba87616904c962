r"""Gradient descent with a preconditioner; Ahn et al. 2023, arXiv 2306.00297.

The paper shows that the best linear transformers of a certain form take preconditioned gradient steps: for inputs that
are not isotropic the preconditioner undoes their covariance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from iclgd.models.learners import best_learning_rate
from iclgd.models.loss import half_mean_squared_error
from iclgd.models.minimization import minimize


@dataclass(frozen=True)
class PreconditionedGradientDescent:
    r"""Steps against the gradient times a fixed matrix; Ahn et al. 2023, theorems 1 and 3.

    .. math:: W \leftarrow W - \Big( \sum_i (W x_i - y_i) x_i^T \Big) P, \quad W = 0 \text{ at first}

    The gradient is that of half the squared error summed over the context. With P a multiple of the identity this is
    :class:`~iclgd.models.GradientDescent`.

    Args:
        preconditioner: P, (D, D).
        num_steps: number of steps.

    Example:
        >>> learner = PreconditionedGradientDescent(torch.diag(torch.tensor([1.0, 0.25])))
        >>> x = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
        >>> learner(x, torch.tensor([[[3.0], [4.0]]]), torch.ones(1, 2))
        tensor([[5.]])
    """

    preconditioner: Tensor
    num_steps: int = 1

    def __call__(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Predict the query's target."""
        weight = _weight(x.mT @ x, y.mT @ x, self.preconditioner.to(x), self.num_steps)
        return torch.einsum("bod,bd->bo", weight, query)


def best_preconditioner(
    x: Tensor, y: Tensor, query: Tensor, target: Tensor, num_steps: int, diagonal: bool
) -> PreconditionedGradientDescent:
    """Find the preconditioner, one for all steps, at which ``num_steps`` have the smallest loss.

    The loss is 0.5 x the mean squared error on all given tasks, in double precision. For one step the prediction is
    linear in P, and least squares give the minimum; for more it is looked for by L-BFGS from gradient descent at its
    best rate, and never worse than that. P has D or D (D + 1) / 2 parameters: give many more tasks than that.

    Args:
        x: context inputs, (B, N, D).
        y: context targets, (B, N, O).
        query: query inputs, (B, D).
        target: the queries' targets, (B, O).
        num_steps: number of steps k.
        diagonal: whether P is diagonal, or any symmetric matrix.

    Returns:
        The learner, its preconditioner in float64.
    """
    x, y, query, target = x.double(), y.double(), query.double(), target.double()
    # In normalised inputs the curvatures are alike, and L-BFGS needs far fewer iterations.
    normalizer = _inverse_root(torch.einsum("bnd,bne->de", x, x) / x.shape[:2].numel(), diagonal)
    basis = torch.einsum("de,pef,fg->pdg", normalizer, _symmetric_basis(x, diagonal), normalizer)
    problem = (x.mT @ x, y.mT @ x, query, target)
    if num_steps == 1:
        features = torch.einsum("bod,pde,be->bop", problem[1], basis, query)
        parameters = torch.linalg.lstsq(features.flatten(0, 1), target.flatten()[:, None]).solution[:, 0]
    else:
        rate = best_learning_rate(x, y, query, target, num_steps).learning_rate
        start = _coordinates(rate * torch.eye(x.shape[-1]).to(x), basis)
        parameters = minimize(lambda parameters: _loss(parameters, basis, num_steps, *problem), start)
    return PreconditionedGradientDescent(torch.einsum("p,pde->de", parameters, basis), num_steps)


def _loss(
    parameters: Tensor, basis: Tensor, num_steps: int, gram: Tensor, correlation: Tensor, query: Tensor, target: Tensor
) -> Tensor:
    preconditioner = torch.einsum("p,pde->de", parameters, basis)
    weight = _weight(gram, correlation, preconditioner, num_steps)
    return half_mean_squared_error(torch.einsum("bod,bd->bo", weight, query), target)


def _weight(gram: Tensor, correlation: Tensor, preconditioner: Tensor, num_steps: int) -> Tensor:
    """Return the weights, (B, O, D), learned from X^T X (B, D, D) and Y^T X (B, O, D)."""
    weight = torch.zeros_like(correlation)
    for _ in range(num_steps):
        weight = weight - (weight @ gram - correlation) @ preconditioner
    return weight


def _symmetric_basis(x: Tensor, diagonal: bool) -> Tensor:
    """Return matrices that span the diagonal or the symmetric ones, (P, D, D)."""
    dim = x.shape[-1]
    rows, columns = torch.arange(dim).expand(2, dim) if diagonal else torch.triu_indices(dim, dim)
    basis = x.new_zeros(len(rows), dim, dim)
    basis[torch.arange(len(rows)), rows, columns] = 1.0
    basis[torch.arange(len(rows)), columns, rows] = 1.0
    return basis


def _inverse_root(covariance: Tensor, diagonal: bool) -> Tensor:
    """Return the symmetric inverse root of a covariance, or of its diagonal part; (D, D) both."""
    if diagonal:
        covariance = covariance.diagonal().diag()
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    smallest = torch.finfo(covariance.dtype).eps * eigenvalues.max()  # an input that is always 0 stays finite
    root: Tensor = eigenvectors / eigenvalues.clamp_min(smallest).sqrt() @ eigenvectors.T
    return root


def _coordinates(matrix: Tensor, basis: Tensor) -> Tensor:
    """Return the coefficients (P,) of a (D, D) matrix that the basis spans."""
    solution: Tensor = torch.linalg.lstsq(basis.flatten(1).T, matrix.flatten()[:, None]).solution
    return solution[:, 0]

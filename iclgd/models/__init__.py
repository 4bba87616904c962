"""What computes: plain modules with one call, ``(x, y, query) -> prediction``.

Shapes at that call: x (B, N, D), y (B, N, O), query (B, D), prediction (B, O), for B tasks, N context points, D inputs
and O outputs. Inside, token tensors are ``(tokens, channels, tasks)``: see :mod:`iclgd.models.tokens`.
"""

from collections.abc import Callable

from torch import Tensor

from iclgd.models.bayes import BayesOptimal as BayesOptimal
from iclgd.models.gd_plus_plus import GradientDescentPlusPlus as GradientDescentPlusPlus
from iclgd.models.learners import GradientDescent as GradientDescent
from iclgd.models.learners import LeastSquares as LeastSquares
from iclgd.models.learners import Ridge as Ridge
from iclgd.models.newton import Newton as Newton
from iclgd.models.preconditioned import PreconditionedGradientDescent as PreconditionedGradientDescent

Predictor = Callable[[Tensor, Tensor, Tensor], Tensor]

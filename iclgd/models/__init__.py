"""What computes: plain modules with one call, ``(x, y, query) -> prediction``, and language models.

Shapes at that call: x (B, N, D), y (B, N, O), query (B, D), prediction (B, O), for B tasks, N context points, D inputs
and O outputs. Inside, token tensors are ``(tokens, channels, tasks)``: see :mod:`iclgd.models.tokens`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from iclgd.lazy import lazy_names
from iclgd.models.bayes import BayesOptimal
from iclgd.models.constructions import gradient_descent_transformer
from iclgd.models.features import FeatureGradientDescent
from iclgd.models.gd_momentum import GradientDescentMomentum
from iclgd.models.gd_plus_plus import GradientDescentPlusPlus
from iclgd.models.learners import GradientDescent, LeastSquares, Ridge, best_learning_rate
from iclgd.models.newton import Newton
from iclgd.models.preconditioned import PreconditionedGradientDescent
from iclgd.models.transformer import Transformer, TransformerConfig

if TYPE_CHECKING:
    from iclgd.models.language import LanguageModel, wrap
    from iclgd.models.pretrained import load_language_model

Predictor = Callable[[Tensor, Tensor, Tensor], Tensor]

__all__ = [
    "BayesOptimal",
    "FeatureGradientDescent",
    "GradientDescent",
    "GradientDescentMomentum",
    "GradientDescentPlusPlus",
    "LanguageModel",
    "LeastSquares",
    "Newton",
    "PreconditionedGradientDescent",
    "Ridge",
    "Transformer",
    "TransformerConfig",
    "best_learning_rate",
    "gradient_descent_transformer",
    "load_language_model",
    "wrap",
]
__getattr__, __dir__ = lazy_names(  # these need transformers, which takes seconds
    __name__,
    {
        "LanguageModel": "iclgd.models.language",
        "load_language_model": "iclgd.models.pretrained",
        "wrap": "iclgd.models.language",
    },
)

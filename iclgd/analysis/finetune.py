"""Finetuning on the demonstrations under the restrictions of Dai et al. 2023, which make it comparable with prompting.

Its section 3: the same examples, each once, in the same order, one a step, with the same template and the causal
language modelling objective; only key and value projections change, by plain stochastic gradient descent.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from iclgd import checks
from iclgd.analysis.attention_capture import capture_queries
from iclgd.analysis.layer_causal import make_layer_causal_loss
from iclgd.analysis.precision import at_least_single
from iclgd.analysis.readout import logits_at
from iclgd.models.language import LanguageModel

METHODS = {
    "gradient_descent": "the loss of the model's output, as in Dai et al. 2023",
    "layer_causal": "a loss at every layer that reaches no other layer, as in Deutch et al. 2024",
}


SEARCH = "search"  # instead of a learning rate: the best of some


@dataclass(frozen=True)
class SearchConfig:
    """How a learning rate is found, with finetune.learning_rate=search.

    Raises:
        ValueError: if a value is out of its range.
    """

    learning_rates: list[float] = field(default_factory=lambda: [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3])
    """Those that are tried."""
    num_rows: int = 64
    """Training rows that are asked, none of which is a demonstration or a query."""
    num_draws: int | None = None
    """Draws of demonstrations that are finetuned on, the first ones; all if null."""

    def __post_init__(self) -> None:
        for rate in self.learning_rates:
            if not checks.SMALLEST <= rate <= checks.LARGEST:
                raise ValueError(f"finetune.search.learning_rates must be positive and finite, got {rate}")
        if len(set(self.learning_rates)) < max(2, len(self.learning_rates)):
            raise ValueError(
                f"finetune.search.learning_rates must be at least two, all different, got {self.learning_rates}"
            )
        checks.at_least(1, "finetune.search", self, "num_rows")
        if self.num_draws is not None:
            checks.at_least(1, "finetune.search", self, "num_draws")


@dataclass(frozen=True)
class FinetuneConfig:
    """How the model is finetuned on the demonstrations.

    Raises:
        ValueError: if a value is out of its range.
    """

    learning_rate: float | str
    """Learning rate of gradient descent on the demonstrations; search finds one."""
    method: str = "gradient_descent"
    """How the model is finetuned."""
    search: SearchConfig = field(default_factory=SearchConfig)

    def __post_init__(self) -> None:
        if not isinstance(self.learning_rate, str):
            checks.positive("finetune", self, "learning_rate")
            object.__setattr__(self, "learning_rate", float(self.learning_rate))
        elif self.learning_rate != SEARCH:
            hint = checks.did_you_mean(self.learning_rate, [SEARCH])
            raise ValueError(f"finetune.learning_rate must be a number or {SEARCH}, got {self.learning_rate!r}{hint}")
        checks.one_of(METHODS, "finetune", self, "method")


class Finetuned:
    """A model's key and value projections apart from the model, which stays as it is.

    Args:
        model: the base model; its own projections are the start.

    Example:
        >>> from iclgd.models import load_language_model, wrap
        >>> model = wrap("embedded", load_language_model("embedded")[0])
        >>> finetuned = Finetuned(model)
        >>> for _ in range(2):
        ...     queries = finetuned.step((5, 6, 7), learning_rate=0.1, loss=make_loss(model, "gradient_descent"))
        >>> bool(finetuned.losses[1] < finetuned.losses[0])
        True
        >>> with finetuned.applied():  # for as long as the block lasts the model has the changed projections
        ...     _ = model.model(input_ids=torch.tensor([[5, 6, 7]]))
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.losses: list[Tensor] = []  # of each example, before its step
        self.parameters: list[dict[str, Tensor]] = [  # for each layer, whole, by their names in the attention module
            {part.name: part.parameter.detach().clone() for part in layer.projections} for layer in model.layers
        ]
        # What gradient descent moves: views of the parameters, or, as its small steps would be lost in the rounding of
        # bfloat16, copies in single precision.
        self.parts = [
            [at_least_single(part.part(whole)) for part, whole in zip(layer.projections, wholes.values(), strict=True)]
            for layer, wholes in zip(model.layers, self.parameters, strict=True)
        ]

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have these projections within the block."""
        projections = [part for layer in self.model.layers for part in layer.projections]
        originals = [part.parameter.data for part in projections]
        changed = [whole for wholes in self.parameters for whole in wholes.values()]
        try:
            for part, whole in zip(projections, changed, strict=True):
                part.parameter.data = whole
            yield
        finally:
            for part, original in zip(projections, originals, strict=True):
                part.parameter.data = original

    def step(self, tokens: tuple[int, ...], learning_rate: float, loss: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """Take one step of gradient descent on one example.

        Args:
            tokens: of the example, the beginning-of-sequence token included.
            learning_rate: of the step.
            loss: of a batch of one, token ids ``(1, T)``.

        Returns:
            the scaled queries of all its tokens before the step, for each layer, shape ``(T, H * E)``.
        """
        ids = torch.tensor([tokens], device=self.model.device)
        parameters = [part.parameter for layer in self.model.layers for part in layer.projections]
        with self.applied():
            try:
                for parameter in parameters:
                    parameter.requires_grad_(True)
                with torch.enable_grad(), capture_queries(self.model) as queries:
                    of_example = loss(ids)
                    gradients = torch.autograd.grad(of_example, parameters)
            finally:
                for parameter in parameters:
                    parameter.requires_grad_(False)
        self._descend(gradients, learning_rate)
        self.losses.append(of_example.detach())
        return [of_layer[0] for of_layer in queries]

    @torch.no_grad()
    def _descend(self, gradients: Sequence[Tensor], learning_rate: float) -> None:
        of_parameters = iter(gradients)
        for layer, wholes, parts in zip(self.model.layers, self.parameters, self.parts, strict=True):
            for projection, part in zip(layer.projections, parts, strict=True):
                gradient = projection.part(next(of_parameters))
                part.add_(gradient.to(part.dtype), alpha=-learning_rate)
                whole = wholes[projection.name]
                if whole.dtype != part.dtype:
                    projection.part(whole).copy_(part)


def make_loss(model: LanguageModel, method: str) -> Callable[[Tensor], Tensor]:
    """Return the loss that a method descends, a function of token ids ``(1, T)``.

    Args:
        model: any language model.
        method: one of ``METHODS``.

    Raises:
        LanguageModelError: if the model does not allow the method.

    Example:
        >>> from iclgd.models import load_language_model, wrap
        >>> model = wrap("embedded", load_language_model("embedded")[0])
        >>> make_loss(model, "gradient_descent")(torch.tensor([[5, 6, 7]])).shape
        torch.Size([])
    """
    if method == "layer_causal":
        return make_layer_causal_loss(model)

    def loss(ids: Tensor) -> Tensor:
        with logits_at(model, lambda hidden: hidden[:, :-1]):  # the last token has no next one
            return next_token_loss(model.model(input_ids=ids, use_cache=False).logits, ids)

    return loss


def next_token_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Return the causal language modelling loss, the mean over all tokens but the first.

    Args:
        logits: of all tokens but the last, shape ``(1, T - 1, V)``.
        ids: the tokens, shape ``(1, T)``.
    """
    return F.cross_entropy(at_least_single(logits[0]), ids[0, 1:].to(logits.device))

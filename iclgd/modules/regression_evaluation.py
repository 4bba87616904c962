"""One seed's transformer, what it is compared with, and what is measured about them."""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from iclgd.analysis.copying import first_layer_gradients
from iclgd.analysis.sensitivity import predict_with_sensitivity
from iclgd.data import RegressionBatch
from iclgd.measures import ALIGNMENTS, ERRORS, Learned
from iclgd.metrics import Copying
from iclgd.models import Predictor
from iclgd.models.constructions import interpolated
from iclgd.models.transformer import Transformer


class RegressionEvaluation(nn.Module):
    """A transformer beside its references, the learners that it may become.

    Measures the errors of all, ``loss/NAME``, and the transformer's alignment to each reference: ``alignment/MEASURE``
    to the first one, ``alignment/MEASURE_NAME`` to any other; the measures are those of ``ERRORS`` and ``ALIGNMENTS``.
    A transformer with separate tokens for x and y also has ``copying/``.

    Args:
        transformer: what is trained.
        references: what every evaluation compares it with. Those that have parameters to train are trained beside it,
            on the same tasks; the others' predictions on the evaluation tasks are computed once.
        final: learners that only the last evaluation adds, by name.
    """

    def __init__(
        self,
        transformer: Transformer,
        references: dict[str, nn.Module],
        final: dict[str, Predictor] | None = None,
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.references = nn.ModuleDict(references)
        self.final = final or {}
        self.metrics = nn.ModuleDict()
        self._known: dict[tuple[str, int], Learned] = {}

    def trained(self) -> dict[str, nn.Module]:
        """Return the models that have something to train, by name."""
        models = {"transformer": self.transformer, **dict(self.references.items())}
        return {name: model for name, model in models.items() if any(p.requires_grad for p in model.parameters())}

    def interpolated(self) -> Transformer | None:
        """Return the mean of trained and constructed weights, where it is defined."""
        return interpolated(self.transformer, dict(self.references.items()))

    def update(self, batch: RegressionBatch, part: int, is_last: bool) -> None:
        """Measure on a batch of evaluation tasks.

        Args:
            batch: the tasks.
            part: of the evaluation tasks; under one number always come the same.
            is_last: whether to add what only the last evaluation measures.
        """
        problem = (batch.x, batch.y, batch.query)
        learned = Learned(*predict_with_sensitivity(self.transformer, *problem))
        self._add_errors("transformer", learned.prediction, batch)
        for position, name in enumerate(self.references):
            reference = self._of_reference(name, part, problem)
            self._add_errors(name, reference.prediction, batch)
            for measure, entry in ALIGNMENTS.items():
                full_name = f"alignment/{measure}" + (f"_{name}" if position else "")
                self._metric(full_name, entry.metric).update(entry.of(learned), entry.of(reference))
        with torch.no_grad():
            if (mixture := self.interpolated()) is not None:
                self._add_errors("interpolated", mixture(*problem), batch)
            if is_last:
                self._add_layers(batch)
                with as_they_are(batch.x):
                    for name, predictor in self.final.items():
                        self._add_errors(name, predictor(*problem), batch)
        if self.transformer.config.tokens == "separate":
            tokens = self.transformer.tokens(*problem)
            copying = self._metric("copying", Copying, tokens.shape[0], tokens.shape[1])
            copying.update(first_layer_gradients(self.transformer, *problem), len(batch.target))

    def compute(self) -> dict[str, Tensor]:
        """Return everything measured since the last call, by its summary name, and forget it."""
        values: dict[str, Tensor] = {}
        for name, metric in self.metrics.items():
            assert isinstance(metric, Metric)
            value = metric.compute()
            values |= (
                {f"{name}/{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
            )
        self.metrics.clear()
        return values

    def _of_reference(self, name: str, part: int, problem: tuple[Tensor, ...]) -> Learned:
        reference = self.references[name]
        if name in self.trained():
            return Learned(*predict_with_sensitivity(reference, *problem))
        if (name, part) not in self._known:
            with as_they_are(problem[0]):
                self._known[name, part] = Learned(*predict_with_sensitivity(reference, *problem))
        return self._known[name, part]

    def _add_layers(self, batch: RegressionBatch) -> None:
        """Measure the errors after every layer of the deep models among us."""
        for name, model in {"transformer": self.transformer, **dict(self.references.items())}.items():
            if isinstance(model, Transformer) and model.config.num_layers > 1:
                with contextlib.nullcontext() if name in self.trained() else as_they_are(batch.x):
                    predictions = model.layer_predictions(batch.x, batch.y, batch.query)
                for layer, prediction in enumerate(predictions):
                    self._add_errors(f"{name}/layer_{layer:02}", prediction, batch)

    def _add_errors(self, name: str, prediction: Tensor, batch: RegressionBatch) -> None:
        for error, entry in ERRORS.items():
            self._metric(f"{error}/{name}", entry.metric).update(prediction, batch.target)

    def _metric(self, name: str, make: Callable[..., Metric], *arguments: int) -> Metric:
        if name not in self.metrics:
            self.metrics[name] = make(*arguments).to(next(self.transformer.parameters()).device)
        metric = self.metrics[name]
        assert isinstance(metric, Metric)
        return metric


def as_they_are(tensor: Tensor) -> torch.autocast:
    """Keep products of matrices from being rounded, on a tensor's device: textbook learners have no mixed precision.

    A reference that was chosen as the best would otherwise be another one, and not the best.
    """
    return torch.autocast(tensor.device.type, enabled=False)

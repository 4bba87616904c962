"""Means kept as a sum and a count: independent of the batch size and of the number of devices."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from iclgd.metrics.shapes import check_layout


class RunningMean(Metric, ABC):
    """The state of all metrics that are a mean.

    An empty set has no mean: ``compute`` then returns NaN (and torchmetrics warns).

    Args:
        zero: the empty sum, which sets shape and precision.
        variant: what tells two metrics of one class apart that do not measure the same.
    """

    full_state_update = False
    count: Tensor

    def __init__(self, zero: Tensor, variant: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A MetricCollection takes metrics for one and the same, and from then on updates one of them, if after the
        # first batch their states agree in name and value: two measures may both begin with 0.
        self.measure = f"{type(self).__name__}{variant}"
        self.add_state(f"total_{self.measure}", zero, dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    @property
    def total(self) -> Tensor:
        """Return the sum over everything added so far."""
        total: Tensor = getattr(self, f"total_{self.measure}")
        return total

    def compute(self) -> Tensor:
        """Return the mean over everything added so far."""
        return self.total / self.count

    def _add(self, total: Tensor, count: int) -> None:
        setattr(self, f"total_{self.measure}", self.total + total)
        self.count = self.count + count


class MeanMetric(RunningMean):
    r"""A mean over regression tasks, or over their outputs, of how far two learners, or learner and target, are apart.

    .. math:: \frac{1}{n} \sum_i t_i

    of the terms whose sum and number :meth:`summed` returns for a batch. As input to ``update`` the metric accepts two
    tensors of one shape, ``preds`` and ``target``, whose axes ``layout`` names. As output of ``compute``: a scalar.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> class LargestDifference(MeanMetric):
        ...     layout = "B O"
        ...
        ...     @staticmethod
        ...     def summed(preds: Tensor, target: Tensor) -> tuple[Tensor, int]:
        ...         return (preds - target).abs().amax(-1).sum(), len(preds)
        >>> metric = LargestDifference()
        >>> metric.update(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]]))
        >>> metric.compute()
        tensor(2.5000)
    """

    layout: str  # of both arguments

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(torch.tensor(0.0), **kwargs)

    @staticmethod
    @abstractmethod
    def summed(preds: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Return the sum of the terms of one batch and their number."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        check_layout(self.layout, {}, preds=preds, target=target)
        self._add(*self.summed(preds, target))


def _with_arguments(values: Callable[..., Tensor]) -> Callable[..., None]:
    def update(self: "ValueMean", *args: Any, **kwargs: Any) -> None:
        ValueMean.update(self, *args, **kwargs)

    update.__doc__ = ValueMean.update.__doc__
    update.__signature__ = inspect.signature(values).replace(return_annotation=None)  # type: ignore[attr-defined]
    return update


class ValueMean(RunningMean):
    """A mean over queries of the values of a pure function, :meth:`values`, whose arguments ``update`` takes."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Show in ``update`` the arguments of ``values``: a MetricCollection passes keywords on by what it sees."""
        super().__init_subclass__(**kwargs)
        if "values" in vars(cls):
            cls.update = _with_arguments(cls.values)  # type: ignore[method-assign]

    @abstractmethod
    def values(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return one batch's values, in a first dimension of queries, float64; nothing is remembered."""

    def checked_values(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return what :meth:`values` does, in double precision and without a history.

        Raises:
            ValueError: if its shape does not fit.
        """
        values = self.values(*args, **kwargs)
        sizes = dict(zip("L", self.total.shape, strict=False))
        check_layout(" ".join(["B", *sizes]), sizes, values=values)
        return values.detach().double()

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch; arguments as of :meth:`values`."""
        values = self.checked_values(*args, **kwargs)
        self._add(values.sum(0), len(values))


class QueryMean(ValueMean):
    r"""A mean over queries for each layer.

    .. math:: \bar v_l = \frac{1}{B} \sum_b v_{bl}

    As output of ``compute``: shape ``(L,)``, float64 (a scalar of one layer, as torchmetrics has it).
    :class:`iclgd.metrics.Bootstrap` adds the mean over layers, and intervals.

    Args:
        num_layers: L.
        variant: what tells two metrics of one class apart that do not measure the same.

    Raises:
        ValueError: if there is no layer.

    Example:
        >>> class LargestChannel(QueryMean):
        ...     def values(self, outputs: Tensor) -> Tensor:
        ...         check_layout("B L C", {"L": self.num_layers}, outputs=outputs)
        ...         return outputs.double().amax(-1)
        >>> metric = LargestChannel(num_layers=2)
        >>> metric.update(torch.tensor([[[1.0, 2.0], [3.0, 0.0]], [[0.0, 4.0], [5.0, 0.0]]]))
        >>> metric.compute()
        tensor([3., 4.], dtype=torch.float64)
    """

    has_layers = True

    def __init__(self, num_layers: int, variant: str = "", **kwargs: Any) -> None:
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        super().__init__(torch.zeros(num_layers, dtype=torch.float64), variant, **kwargs)
        self.num_layers = num_layers

    @abstractmethod
    def values(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return one batch's values, one for each query and layer, ``(B, L)``, float64; nothing is remembered."""

    def check(self, layout: str, sizes: dict[str, int] | None = None, **tensors: Tensor) -> dict[str, int]:
        """Refuse arguments that are not laid out as said, see :func:`iclgd.metrics.shapes.check_layout`.

        Args:
            layout: names of the axes; L is known.
            sizes: of axes that another argument had.
            tensors: by argument name.

        Returns:
            the sizes of all axes.

        Raises:
            ValueError: naming the first bad argument, the shape that it must have and the one that it has.
        """
        return check_layout(layout, {"L": self.num_layers, **(sizes or {})}, **tensors)


class ModelMean(QueryMean):
    r"""A mean over queries of what the model as a whole has: a :class:`QueryMean` of one layer that is none.

    Args:
        variant: what tells two metrics of one class apart that do not measure the same.

    Example:
        >>> class Certainty(ModelMean):
        ...     def values(self, probabilities: Tensor) -> Tensor:
        ...         self.check("B V", probabilities=probabilities)
        ...         return probabilities.double().amax(-1, keepdim=True)
        >>> metric = Certainty()
        >>> metric.update(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
        >>> metric.compute()
        tensor(0.6250, dtype=torch.float64)
    """

    has_layers = False

    def __init__(self, variant: str = "", **kwargs: Any) -> None:
        super().__init__(1, variant, **kwargs)

    @abstractmethod
    def values(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return one batch's values, one for each query, ``(B, 1)``, float64; nothing is remembered."""


class Interval(RunningMean):
    """A mean with its 95% interval, by wrapping a metric: ``compute`` has mean, low and high in its last dimension.

    Attributes:
        terms: of the batch that was added last: what each query adds to the sum, the mean of its layers, ``(B,)``.
        counts: likewise how often it counts in the mean, 1 or 0, ``(B,)``.
    """

    terms: Tensor
    counts: Tensor

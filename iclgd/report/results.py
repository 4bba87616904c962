"""A run's numbers as figures and tables need them: every quantity with an entry for each seed.

A run of several seeds has its numbers under ``NAME/seed_S``, beside their mean under ``NAME``; a run of one seed has
``NAME`` alone.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors.numpy import load_file

from iclgd.files import read_text
from iclgd.tracking.predictions import read_predictions
from iclgd.tracking.run_directory import MADE_WITH, RunDirectory

Array = NDArray[Any]
OF_A_SEED = re.compile(r"/seed_\d+$")
OF_A_DRAW = re.compile(r"^draw_\d+/")
OF_A_LAYER = re.compile(r"/layer_\d+")
TRANSFORMER, MIXTURE = "transformer", "interpolated"  # predictors that are no references
LARGEST = 1e100  # beyond it axes overflow


class Curve(NamedTuple):
    """A quantity over training (or anything else) of every seed."""

    x: Array  # (P,)
    values: Array  # (S, P)


@dataclass(frozen=True)
class Results:
    """What a run directory holds.

    Attributes:
        metrics: the numbers of each evaluation, and its ``step``.
        summary: the final numbers.
        weights: of all models, ``MODEL.PARAMETER``; of several seeds ``seed_S/MODEL.PARAMETER``.
        analyses: the records of the analyses by name.
        config: the resolved config.
        name: of the run's config.
        made_with: with which values of the config analyses were made, by name.
        read_rows: reads the answers of a text run, as in ``predictions.jsonl``, when they are asked for.
    """

    metrics: list[dict[str, float]] = field(default_factory=list)
    summary: dict[str, float] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)
    analyses: dict[str, dict[str, Any]] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    made_with: dict[str, dict[str, Any]] = field(default_factory=dict)
    read_rows: Callable[[], list[dict[str, Any]]] = list

    @classmethod
    def read(cls, directory: RunDirectory, summary: dict[str, float]) -> "Results":
        """Read all but the summary, which is written last."""
        path = directory.path / "weights.safetensors"
        weights = load_file(path) if path.exists() else {}
        config = yaml.safe_load(read_text(directory.config_path)) or {}
        analyses, made_with = {}, {}
        for name, record in directory.read_analyses().items():
            made_with[name] = record.pop(MADE_WITH, {})
            analyses[name] = record
        return cls(
            directory.read_metrics(),
            summary,
            weights,
            analyses,
            config,
            directory.path.parent.name,
            made_with,
            partial(read_predictions, directory, lambda _: None),
        )

    @cached_property
    def queries(self) -> list[dict[str, Any]]:
        """Return a text run's answers zero-shot, one for each query."""
        kept = ("control", "setting", "draw")
        return [row for row in self.read_rows() if [row.get(key) or None for key in kept] == [None, "zero_shot", None]]

    @property
    def labels(self) -> list[str]:
        """Return the right answers of a text run's queries, one for each query."""
        return [str(row["label"]) for row in self.queries if "label" in row]

    def curve(self, name: str) -> Curve | None:
        """Return a quantity over training, if it was recorded."""
        points = [(record["step"], values) for record in self.metrics if (values := of_seeds(record, name))]
        if not points:
            return None
        return Curve(np.array([step for step, _ in points]), np.array([values for _, values in points], float).T)

    def layers(self, predictor: str) -> Curve | None:
        """Return a predictor's final loss before the first and after each layer, if it has several."""
        name = re.compile(rf"loss/{predictor}/layer_(\d+)")
        numbers = sorted({int(match[1]) for key in self.summary if (match := name.match(key))})
        if not numbers:
            return None
        values = [of_seeds(self.summary, f"loss/{predictor}/layer_{layer:02}") for layer in numbers]
        return Curve(np.array(numbers), np.array(values, float).T)

    def references(self) -> list[str]:
        """Return the names of the learners whose alignment was recorded; the first one's has no suffix."""
        names = {name for record in self.metrics for name in record}
        measure = "alignment/sensitivity_cosine"
        if measure not in names:
            return []
        suffixed = {name.removeprefix(f"{measure}_") for name in names if name.startswith(f"{measure}_")}
        others = sorted({OF_A_SEED.sub("", name) for name in suffixed})
        losses = [name.split("/")[1] for record in self.metrics for name in record if name.startswith("loss/")]
        return [*[name for name in losses if name not in (TRANSFORMER, MIXTURE, *others)][:1], *others]

    def weights_of_first_seed(self) -> dict[str, Array]:
        """Return the weights of the first seed's models, ``MODEL.PARAMETER``."""
        seeds = sorted({int(match[1]) for name in self.weights if (match := re.match(r"seed_(\d+)/", name))})
        if not seeds:
            return self.weights
        prefix = f"seed_{seeds[0]}/"
        return {name.removeprefix(prefix): each for name, each in self.weights.items() if name.startswith(prefix)}


def of_seeds(numbers: dict[str, float], name: str) -> list[float]:
    """Return the values of a name, one for each seed; none if it is not there.

    Example:
        >>> of_seeds({"loss/gd": 2.0, "loss/gd/seed_0": 1.0, "loss/gd/seed_1": 3.0}, "loss/gd")
        [1.0, 3.0]
        >>> of_seeds({"loss/gd": 2.0, "loss/gd/layer_00": 5.0}, "loss/gd")
        [2.0]
    """
    seeds = [value for key, value in numbers.items() if key.startswith(f"{name}/seed_")]
    return seeds or ([numbers[name]] if name in numbers else [])


def drawable(values: Array) -> Array:
    """Return values with gaps, NaN, for what diverged.

    Example:
        >>> drawable(np.array([1.0, np.inf, 1e200]))
        array([ 1., nan, nan])
    """
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values) < LARGEST, values, np.nan)


def mean_and_deviation(values: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation over the first dimension (seeds), 0 for a single one; gaps stay."""
    kept = drawable(values)
    return kept.mean(0), kept.std(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])

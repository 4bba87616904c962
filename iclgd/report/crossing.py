"""The number of pretraining tasks at which a model is as near to ridge as to dMMSE, with its interval."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from iclgd.report.results import Array

FEWEST_SEEDS = 3  # over which can be resampled
NUM_RESAMPLES = 2000
LEVELS = (0.025, 0.975)
NORMAL = 1.959964  # half the width of a 95 % interval, in standard errors


class Distances(NamedTuple):
    """Distances of one trained model: mean squared differences of its predictions.

    Attributes:
        ridge: to ridge.
        dmmse: to dMMSE.
        low: of the 95 % interval over prompts of the difference, dMMSE's less ridge's.
        high: of the same.
    """

    ridge: float
    dmmse: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Return the standard error of the difference over prompts."""
        return (self.high - self.low) / (2 * NORMAL)


class Crossing(NamedTuple):
    """Where the nearer learner changes from dMMSE to ridge.

    Attributes:
        at: the number of tasks; infinite where no number has a model that is nearer to ridge, 0 where all are.
        low: of its 95 % interval, likewise.
        high: of the same.
        over: what was resampled.
    """

    at: float
    low: float
    high: float
    over: str


def crossing(models: Mapping[int, Sequence[Distances]]) -> Crossing | None:
    """Return from how many tasks on models are nearer to ridge than to dMMSE.

    Between the largest number at which the mean model is nearer to dMMSE and the next one the logarithm of the ratio of
    both distances is interpolated over the logarithm of the number: that is where straight lines cross in a figure with
    logarithmic axes. Of at least three seeds at every number the interval resamples seeds (the bootstrap's
    percentiles); of fewer it draws the difference of the distances from its normal distribution over prompts, and then
    says nothing of models of other seeds.

    Args:
        models: by the number of tasks, each seed's.

    Returns:
        ``None`` where a distance is not finite, or there is no model.

    Example:
        >>> few, many = Distances(4.0, 1.0, -3.1, -2.9), Distances(1.0, 4.0, 2.9, 3.1)
        >>> found = crossing({16: [few], 256: [many]})
        >>> round(found.at), 55 < found.low < found.high < 75, found.over
        (64, True, 'prompts')
        >>> crossing({16: [many], 256: [many]}).at, crossing({16: [few]}).at
        (0.0, inf)
    """
    numbers = sorted(models)
    values = [value for number in numbers for distances in models[number] for value in distances]
    if not values or not all(map(math.isfinite, values)) or not all(models.values()):
        return None
    logs = np.log(np.array(numbers, float))
    generator = np.random.default_rng(0)
    sums = np.array([np.mean([each.dmmse + each.ridge for each in models[number]]) for number in numbers])
    differences = [np.array([each.dmmse - each.ridge for each in models[number]]) for number in numbers]
    means = np.array([each.mean() for each in differences])
    if min(map(len, differences)) >= FEWEST_SEEDS:
        over = "seeds"
        drawn = [each[generator.integers(len(each), size=(NUM_RESAMPLES, len(each)))].mean(1) for each in differences]
    else:
        over = "prompts"
        errors = [math.sqrt(sum(each.error**2 for each in models[number])) / len(models[number]) for number in numbers]
        drawn = [generator.normal(mean, error, NUM_RESAMPLES) for mean, error in zip(means, errors, strict=True)]
    found = np.sort(_cross(logs, np.array(drawn).T, sums))
    low, high = (float(found[round(level * (NUM_RESAMPLES - 1))]) for level in LEVELS)
    return Crossing(float(_cross(logs, means[None], sums)[0]), low, high, over)


def _cross(logs: Array, differences: Array, sums: Array) -> Array:
    """Return where each of several curves of differences, (R, P), crosses zero for the last time, (R,)."""
    is_nearer_dmmse = differences <= 0
    # The place of the last one that is nearer to dMMSE; where it is at the end, or there is none, any will do.
    last = np.clip(len(logs) - 1 - is_nearer_dmmse[:, ::-1].argmax(1), 0, max(len(logs) - 2, 0))
    following = np.minimum(last + 1, len(logs) - 1)
    rows = np.arange(len(differences))
    # log(dmmse / ridge), where their sum and difference are known; a model that is one of them is very near to it
    shares = np.clip(differences / sums, -1 + 1e-9, 1 - 1e-9)
    below, above = (2 * np.arctanh(shares[rows, place]) for place in (last, following))
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.clip(-below / (above - below), 0, 1)  # where there is no crossing it is not looked at
    between = np.exp(logs[last] + (logs[following] - logs[last]) * part)
    return np.where(~is_nearer_dmmse.any(1), 0.0, np.where(is_nearer_dmmse[:, -1], np.inf, between))


def crossing_text(found: Crossing, numbers: Sequence[int]) -> str:
    """Say where a crossing is, and how sure that is.

    Args:
        found: the crossing.
        numbers: of tasks that were tried.

    Example:
        >>> crossing_text(Crossing(64.2, 55.0, math.inf, "prompts"), [4, 256])
        'as near to ridge as to dMMSE at 64 tasks [55, above 256] (95% interval over prompts, not over training seeds)'
    """
    if not math.isfinite(found.at):
        where = f"nearer to dMMSE up to the most, {max(numbers):,} tasks"
    elif not found.at:
        where = f"nearer to ridge already with the fewest, {min(numbers):,} tasks"
    else:
        where = f"as near to ridge as to dMMSE at {found.at:,.0f} tasks"
    ends = ", ".join(_number(end, numbers) for end in (found.low, found.high))
    over = "seeds" if found.over == "seeds" else "prompts, not over training seeds"
    return f"{where} [{ends}] (95% interval over {over})"


def _number(value: float, numbers: Sequence[int]) -> str:
    if not value:
        return f"below {min(numbers):,}"
    return f"{value:,.0f}" if math.isfinite(value) else f"above {max(numbers):,}"

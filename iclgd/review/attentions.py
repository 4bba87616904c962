"""Runs that differ in their attention alone: momentum beside plain, each at the learning rate that is best for it.

With one learning rate for all, the attention for which it happens to be right would win. So the rate is chosen for each
by the least mean loss over seeds, among those that all of them were tried with.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from iclgd.report.settings import SEEDS, by_setting, spread
from iclgd.review.settings import Repetition, Setting, is_setting, labels_of
from iclgd.review.texts import listed, number_text

KIND, MOMENTUM, LEARNED = OF_ATTENTION = "model.attention", "model.momentum", "model.learn_momentum"
LEARNING_RATE = "training.learning_rate"
CHOSEN_BY = "val/loss"
PLAIN = "plain"


@dataclass(frozen=True)
class Attention:
    """One attention at its best learning rate.

    Attributes:
        label: ``plain``, or such as ``momentum 0.9``.
        setting: its runs at that rate.
        rate: which.
        rates: that all attentions of the comparison were tried with.
    """

    label: str
    setting: Setting
    rate: float
    rates: Sequence[float]

    def differences(self, other: "Attention", of: Callable[[Repetition], float | None]) -> list[float]:
        """Return a number less the other attention's, for each seed that both have it of.

        Args:
            other: which.
            of: the number of a repetition.
        """
        theirs = {each.seed: value for each in other.setting.repetitions if (value := of(each)) is not None}
        return [
            value - theirs[each.seed]
            for each in self.setting.repetitions
            if each.seed in theirs and (value := of(each)) is not None
        ]


@dataclass(frozen=True)
class Comparison:
    """Attentions of models that are alike in all else.

    Attributes:
        label: what tells it from the others of the section; empty for the only one.
        plain: without momentum.
        momenta: the others.
    """

    label: str
    plain: Attention
    momenta: Sequence[Attention]

    @property
    def attentions(self) -> list[Attention]:
        """Return all, plain first."""
        return [self.plain, *self.momenta]

    @property
    def names(self) -> set[str]:
        """Return the names of all numbers that any of the runs has."""
        return {name for each in self.attentions for one in each.setting.repetitions for name in one.numbers}


def attention_label(config: Mapping[str, Hashable]) -> str:
    """Return how an attention is called; without momentum it is plain, whatever computes it.

    Example:
        >>> attention_label({"model.attention": "momentum", "model.momentum": 0.9})
        'momentum 0.9'
        >>> attention_label({"model.attention": "softmax", "model.momentum": 0.9}), attention_label({})
        ('plain', 'plain')
        >>> attention_label({"model.attention": "momentum", "model.momentum": 0.0})
        'plain'
    """
    momentum, is_learned = config.get(MOMENTUM), config.get(LEARNED) is True
    if config.get(KIND) != "momentum" or (momentum == 0 and not is_learned):
        return PLAIN
    return f"momentum {'learned from ' * is_learned}{momentum}"


def comparisons_of(settings: Sequence[Setting]) -> tuple[list[Comparison], list[str]]:
    """Return what can be compared, and a line for each attention that cannot.

    Args:
        settings: of runs; those that train no language models are passed over.
    """
    found: list[tuple[Mapping[str, Hashable], Comparison]] = []
    left_out: list[str] = []
    kept = [
        ({key: value for key, value in each.config.items() if is_setting(key)}, each)
        for each in settings
        if each.experiment == "language_modeling" and each.config.get(KIND) != "mesa"  # which is no momentum
    ]
    for config, alike in by_setting(kept, (*OF_ATTENTION, LEARNING_RATE, *SEEDS)):
        by_label: dict[str, list[Setting]] = {}
        for setting in alike:
            by_label.setdefault(attention_label(setting.config), []).append(setting)
        if PLAIN not in by_label or len(by_label) < 2:
            continue
        rates = sorted(set.intersection(*({_rate(each) for each in tried} for tried in by_label.values())))
        if not rates:
            left_out.append(f"{listed([*by_label])}: no learning rate that all were tried with, so not compared")
            continue
        chosen = {label: _best(label, tried, rates) for label, tried in by_label.items()}
        left_out += [
            f"{label}: no learning rate at which {CHOSEN_BY} is finite in every run, so not compared"
            for label, attention in chosen.items()
            if attention is None
        ]
        plain = chosen.pop(PLAIN)
        momenta = [attention for _, attention in sorted(chosen.items()) if attention is not None]
        if plain is not None and momenta:
            found.append((config, Comparison("", plain, momenta)))
    labels = labels_of([config for config, _ in found])
    return [
        Comparison(label, each.plain, each.momenta) for label, (_, each) in zip(labels, found, strict=True)
    ], left_out


def _rate(setting: Setting) -> float:
    rate = setting.config.get(LEARNING_RATE)
    return float(rate) if isinstance(rate, int | float) else math.nan


def _best(label: str, tried: Sequence[Setting], rates: Sequence[float]) -> Attention | None:
    """Return an attention at the rate of the least mean loss, of those with most seeds; ``None`` without any."""
    losses = [(each, each.values(CHOSEN_BY)) for each in tried if _rate(each) in rates]
    most = max(len(values) for _, values in losses)
    means = [
        (spread(values).mean, place)
        for place, (_, values) in enumerate(losses)
        if values and len(values) == most and all(map(math.isfinite, values))
    ]
    if not means:
        return None
    _, place = min(means)
    setting = losses[place][0]
    return Attention(label, setting, _rate(setting), rates)


def number_named(name: str) -> Callable[[Repetition], float | None]:
    """Return what gets a number of the summary of a repetition."""
    return lambda each: each.numbers.get(name)


def rates_text(attentions: Sequence[Attention]) -> str:
    """Say how learning rates were chosen.

    Args:
        attentions: of one comparison.
    """
    rates = attentions[0].rates
    if len(rates) == 1:
        return f"all at the one learning rate that was tried, {number_text(rates[0])}"
    at_the_end = [each.label for each in attentions if each.rate in (rates[0], rates[-1])]
    edge = f"; at an end of the rates that were tried: {listed(at_the_end)}" if at_the_end else ""
    chosen = listed([f"{number_text(each.rate)} ({each.label})" for each in attentions])
    return f"each at its own learning rate of {len(rates)}, by the least mean {CHOSEN_BY} over seeds: {chosen}{edge}"

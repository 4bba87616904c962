"""Charts of a language model's training: how it learns to learn from demonstrations."""

import re
from collections.abc import Sequence
from functools import partial

import numpy as np

from iclgd.measures.ranges import NOT_NEGATIVE
from iclgd.measures.text import SHARE
from iclgd.report.by_demonstrations import AFTER, accuracy_after, numbers_in
from iclgd.report.language_figures import OF_LENGTH
from iclgd.report.results import Curve, Results, of_seeds
from iclgd.review.charts.groups import Group, Notes, curve_of, together
from iclgd.review.charts.points import line, points_each, told, told_panels
from iclgd.review.charts.titles import title
from iclgd.review.charts.training import LOGGED_STEP, STEP
from iclgd.review.document import Axis, Chart, Live, Plot

ACCURACY, DEMONSTRATIONS = "accuracy of the label", "demonstrations"
PERPLEXITY, LENGTH = "perplexity", "tokens of a sequence"
LOSSES = {"val/loss": "all tokens", "val/label_loss": "labels"}


def learning_to_learn(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return the accuracy after so many demonstrations, at the end of each setting, and over training of the first."""
    trained = [group for group in groups if not any(run.run.has_draws for run in group.runs)]
    shown = [(group, numbers) for group in trained if (numbers := _numbers(group))]
    if not shown:
        return []
    first, numbers = shown[0]
    if len(shown) > 1:
        notes.add(f"learning_to_learn: over training of the first of {len(shown)} settings alone")
    lines = [
        line(f"{number} demonstrations", *curve, most=points_each(len(numbers)), within=SHARE)
        for number in numbers
        if (curve := curve_of(first, accuracy_after(number), notes))
    ]
    at_the_end = [
        line(group.name, *curve, within=SHARE)
        for group, _ in shown
        if (curve := together(group, partial(_final, pattern=AFTER), "accuracy over demonstrations", notes))
    ]
    over_training = Plot(first.label or "over training", Axis(STEP), Axis(ACCURACY), lines)
    at_the_end_of_training = Plot("trained", Axis(DEMONSTRATIONS), Axis(ACCURACY), at_the_end)
    what = title("accuracy after demonstrations", [group for group, _ in shown])
    metrics = [accuracy_after(number) for number in numbers]
    text = f"Trained: {told(at_the_end)} Over training: {told(lines)}"
    return [
        Chart(
            "learning_to_learn",
            what,
            [over_training, at_the_end_of_training],
            text,
            Live("lines", metrics, LOGGED_STEP),
        )
    ]


def _numbers(group: Group) -> list[int]:
    """Return the numbers of demonstrations after which accuracy was measured."""
    names = group.names(lambda results: [*results.summary])
    return numbers_in(names)


def perplexity_by_length(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return the perplexity of the trained models on sequences of several lengths, with a line for each setting."""
    lines, shown = [], []
    for group in groups:
        if curve := together(group, partial(_final, pattern=OF_LENGTH), "perplexity over length", notes):
            lines.append(line(group.name, *curve, within=NOT_NEGATIVE))
            shown.append(group)
    if not lines:
        return []
    plot = Plot("", Axis(LENGTH), Axis(PERPLEXITY), lines)
    return [Chart("perplexity_by_length", title("perplexity by length", shown), [plot], told(lines))]


def _final(results: Results, pattern: re.Pattern[str]) -> Curve | None:
    """Return the final values of what is named by a number, over that number."""
    found = {
        int(match[1]): of_seeds(results.summary, name) for name in results.summary if (match := pattern.match(name))
    }
    places = sorted(found)
    return Curve(np.array(places), np.array([found[place] for place in places], float).T) if places else None


def validation_loss(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return the losses on tokens that the model was not trained on, over training, with a line for each setting."""
    panels, shown = [], {}
    for name, text in LOSSES.items():
        lines = []
        for group in groups:
            if curve := curve_of(group, name, notes):
                lines.append(line(group.name, *curve, most=points_each(len(groups) * len(LOSSES)), within=NOT_NEGATIVE))
                shown[group.name] = group
        if lines:
            panels.append(Plot(text, Axis(STEP), Axis("cross-entropy, nats a token"), lines))
    if not panels:
        return []
    text = told_panels(panels)
    live = Live("lines", [*LOSSES], LOGGED_STEP)
    return [Chart("validation_loss", title("validation loss over training", [*shown.values()]), panels, text, live)]

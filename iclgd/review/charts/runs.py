"""All charts of the runs of one section."""

from collections.abc import Callable, Sequence

from iclgd.measures import TO_DEMONSTRATIONS
from iclgd.messages import first_line
from iclgd.report.settings import SEEDS
from iclgd.review.charts.accuracies import accuracy, recall
from iclgd.review.charts.algorithms import functions, which_algorithm
from iclgd.review.charts.demonstrations import attention_to_demonstrations
from iclgd.review.charts.few_shot import accuracy_by_demonstrations
from iclgd.review.charts.groups import Group, Notes, groups_of
from iclgd.review.charts.language import learning_to_learn, perplexity_by_length, validation_loss
from iclgd.review.charts.shifts import iterated, out_of_distribution
from iclgd.review.charts.similarities import finetuning, similarity_by_layer, similarity_means
from iclgd.review.charts.training import after_layers, alignments, copying, learning_curves
from iclgd.review.charts.weights import weights
from iclgd.review.document import Chart
from iclgd.review.gather import ReviewedRun
from iclgd.review.texts import listed

Make = Callable[[Sequence[Group], Notes], list[Chart]]
CHARTS: dict[str, Make] = {  # in their order on the page
    "learning_curve": learning_curves,
    "alignment": alignments,
    "layers": after_layers,
    "copying": copying,
    "weights": weights,
    "out_of_distribution": out_of_distribution,
    "iterated": iterated,
    "which_algorithm": which_algorithm,
    "functions": functions,
    "similarity": similarity_by_layer,
    "similarity_means": similarity_means,
    "accuracy": accuracy,
    "rec2ftp": recall,
    TO_DEMONSTRATIONS: attention_to_demonstrations,
    "finetuning": finetuning,
    "accuracy_by_demonstrations": accuracy_by_demonstrations,
    "learning_to_learn": learning_to_learn,
    "perplexity_by_length": perplexity_by_length,
    "validation_loss": validation_loss,
}
MOST_NOTES = 40
# What reading a record of another shape than ours ends in.
UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def charts_of(runs: Sequence[ReviewedRun], over: Sequence[str] = SEEDS) -> tuple[list[Chart], list[str]]:
    """Return the charts of one section's runs, and lines of what was left out and why.

    Args:
        runs: of one experiment, in any state; those that differ in seeds alone are repetitions.
        over: keys of configs that are repetitions.
    """
    notes = Notes()
    groups = groups_of(runs, notes, over) if runs else []
    charts = [chart for name, make in CHARTS.items() for chart in _made(name, make, groups, notes)]
    lines = [*notes.lines]
    if len(lines) > MOST_NOTES:
        lines = [*lines[:MOST_NOTES], f"and {len(lines) - MOST_NOTES} more lines about charts"]
    return charts, lines


def _made(name: str, make: Make, groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return a chart of what can be read; runs whose record has another shape than ours are named."""
    if not groups:
        return []
    own = Notes()
    try:
        charts = make(groups, own)
    except UNREADABLE as error:
        readable, damaged = _readable(make, groups)
        why = f"{type(error).__name__}: {first_line(error)}"
        if not damaged:  # each by itself can be read
            notes.add(f"{name}: no chart, as the runs cannot be shown together ({why})")
            return []
        notes.add(f"{name}: without {listed(damaged)}, whose numbers cannot be read ({why})")
        return _made(name, make, readable, notes)
    notes.lines |= own.lines
    return charts


def _readable(make: Make, groups: Sequence[Group]) -> tuple[list[Group], list[str]]:
    """Return groups without the runs of which a chart cannot be made, and these runs' names."""
    kept, damaged = [], []
    for group in groups:
        runs = []
        for run in group.runs:
            try:
                make([Group(group.label, [run], group.config)], Notes())
            except UNREADABLE:
                damaged.append(run.name)
            else:
                runs.append(run)
        if runs:
            kept.append(Group(group.label, runs, group.config))
    return kept, damaged

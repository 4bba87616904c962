"""Figures of task diversity: how far models are from ridge and dMMSE, over positions and over the number of tasks."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iclgd.report.crossing import Crossing, Distances, crossing, crossing_text
from iclgd.report.function_analysis_figures import BANDS, EXAMPLES, draw_interval
from iclgd.report.position_figures import LOOKS, TITLES
from iclgd.report.results import Results
from iclgd.report.style import FAINT, NORMAL, PAGE, SMALL, label, legend_below, letters_in, name_ticks

RECORD, TASKS = "task_diversity", "task.num_tasks"
OPTIMAL = ("ridge", "dmmse")
NEW = "new_functions/"  # begins the names of what is measured on them
DISTANCE = "mean squared difference / inputs"
MOST_TICKS = 8


class DiverseModel(NamedTuple):
    """A model that was trained on a pool.

    Attributes:
        num_tasks: of the pool.
        seed: of the training.
        summary: its final numbers.
    """

    num_tasks: int
    seed: Any
    summary: Mapping[str, float]


def distances_by_position(results: Results) -> Figure | None:
    """Plot how far a model is from ridge and dMMSE after every number of examples; Raventós et al., figure 2."""
    record = results.analyses.get(RECORD)
    if not record:
        return None
    of_tasks = record["of_tasks"]
    figure = Figure(figsize=(PAGE, 2.8), layout="constrained")
    (panels,) = figure.subplots(1, len(of_tasks), squeeze=False, sharey=True)
    for axes, found in zip(panels, of_tasks, strict=True):
        for learner in OPTIMAL:
            distances = found["distances"][learner]
            draw_interval(axes, range(len(distances["mean"])), distances, learner, label=f"to {label(learner)}")
        axes.set_yscale("log", nonpositive="mask")
        axes.set_title(TITLES.get(found["prefix"], found["prefix"]))
        axes.set_xlabel(EXAMPLES)
    name_ticks(panels[0])
    panels[0].set_ylabel(DISTANCE)
    legend_below(figure, *panels[0].get_legend_handles_labels(), f"distance of the transformer; {BANDS}", ncols=2)
    return figure


def has_distances(summary: Mapping[str, float]) -> bool:
    """Say whether a run has measured how far its model is from both."""
    return all(f"{NEW}distance/{learner}" in summary for learner in (*OPTIMAL, "difference"))


def crossing_of(models: Sequence[DiverseModel], prefix: str = NEW) -> Crossing | None:
    """Return from how many tasks on models are nearer to ridge than to dMMSE; see :func:`crossing`.

    Args:
        models: of any numbers of tasks.
        prefix: of the names of what is measured on new functions, or on those of the pool.
    """
    by_number: dict[int, list[Distances]] = {}
    for model in models:
        distances = (model.summary[f"{prefix}distance/{learner}"] for learner in OPTIMAL)
        ends = (model.summary.get(f"{prefix}distance/difference_{end}", np.nan) for end in ("low", "high"))
        by_number.setdefault(model.num_tasks, []).append(Distances(*distances, *ends))
    return crossing(by_number)


def over_tasks(models: Sequence[DiverseModel], about: str) -> Figure:
    """Plot distances and errors over the number of pretraining tasks; Raventós et al., figure 2.

    Points are trained models, lines their means over seeds. A line across says where models on new functions are as
    near to ridge as to dMMSE, and a band how sure that is.

    Args:
        models: at least one.
        about: what the figure shows.
    """
    figure = Figure(figsize=(PAGE, 4.9), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey="row")
    numbers = sorted({model.num_tasks for model in models})
    found = crossing_of(models)
    for column, prefix in enumerate(("", NEW)):
        top, bottom = grid[:, column]
        top.set_title(TITLES[prefix])
        for learner in OPTIMAL:
            _line(top, models, f"{prefix}distance/{learner}", learner, f"transformer to {label(learner)}", "o")
        for learner in ("transformer", *OPTIMAL):
            _line(bottom, models, f"{prefix}error/{learner}", learner, f"error of {label(learner)}", "s")
        bottom.set_xlabel("pretraining tasks M")
        if prefix == NEW and found is not None:
            for axes in (top, bottom):
                _mark(axes, found, numbers)
    for axes in grid.ravel():
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", nonpositive="mask")
        if len(numbers) <= MOST_TICKS:
            axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
            axes.xaxis.minorticks_off()
    for axes in grid[:, 0]:
        name_ticks(axes)
    grid[0, 0].set_ylabel(DISTANCE)
    grid[1, 0].set_ylabel("squared error / inputs")
    handles, labels = (
        [each for axes in grid[:, 0] for each in axes.get_legend_handles_labels()[place]] for place in (0, 1)
    )
    note = f"grey, on new functions: {crossing_text(found, numbers)}" if found is not None else ""
    legend_below(figure, handles, labels, note, ncols=3)
    title = "\n".join(textwrap.wrap(about, letters_in(PAGE, NORMAL), max_lines=3, placeholder=" ..."))
    figure.suptitle(title, fontsize=NORMAL, parse_math=False)
    for axes in grid.ravel():
        axes.tick_params(which="both", labelsize=SMALL)
    return figure


def _line(axes: Axes, models: Sequence[DiverseModel], name: str, learner: str, text: str, marker: str) -> None:
    by_number: dict[int, list[float]] = {}
    for model in sorted(models, key=lambda model: model.num_tasks):
        value = model.summary.get(name, np.nan)
        by_number.setdefault(model.num_tasks, []).append(value if np.isfinite(value) else np.nan)
    colour, line = LOOKS[learner]
    numbers = [number for number, values in by_number.items() for _ in values]
    values = [value for each in by_number.values() for value in each]
    axes.plot(numbers, values, color=colour, marker=marker, markersize=3, linestyle="none")
    means = [float(np.mean(each)) for each in by_number.values()]  # NaN, a gap, where one has diverged
    axes.plot([*by_number], means, color=colour, linestyle=line, label=text, marker="none")


def _mark(axes: Axes, found: Crossing, numbers: Sequence[int]) -> None:
    ends = np.clip([found.low, found.high], min(numbers), max(numbers))
    axes.axvspan(*ends, color=FAINT, alpha=0.5, linewidth=0, zorder=0)
    if min(numbers) <= found.at <= max(numbers):
        axes.axvline(found.at, color=FAINT, linewidth=1, zorder=1)

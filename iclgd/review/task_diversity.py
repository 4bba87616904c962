"""From how many pretraining tasks on is a transformer nearer to ridge than to dMMSE? A chart and a verdict."""

from collections.abc import Sequence

from iclgd.report.crossing import Crossing, crossing_text
from iclgd.report.settings import SEEDS, by_setting, spread
from iclgd.report.style import label
from iclgd.report.task_diversity_figures import DISTANCE, NEW, OPTIMAL, TASKS, DiverseModel, crossing_of, has_distances
from iclgd.review.charts.points import numbers
from iclgd.review.document import Answer, Axis, Chart, Mark, Plot, Role, Series, Verdict
from iclgd.review.gather import ReviewedRun
from iclgd.review.settings import is_setting
from iclgd.review.texts import counted

QUESTION = "Is the transformer nearer to dMMSE with few pretraining tasks, and nearer to ridge with many?"
ROLES: dict[str, Role] = {"transformer": "transformer", "ridge": "gd", "dmmse": "gd_plus_plus"}
TITLES = {"": "functions of the pool", NEW: "new functions"}


def diversity_charts(runs: Sequence[ReviewedRun], over: Sequence[str] = SEEDS) -> list[Chart]:
    """Return a chart for each setting of all else: distances and errors over the number of tasks.

    Args:
        runs: of one section.
        over: keys of configs that are repetitions.
    """
    charts = []
    for models in _families(runs, over):
        found = crossing_of(models)
        panels = [_panel(models, prefix, what, found) for what in ("distance", "error") for prefix in TITLES]
        seeds = counted(len({model.seed for model in models}), "seed")
        title = f"distances to ridge and dMMSE over pretraining tasks; {counted(len(models), 'run')}, {seeds}"
        charts.append(Chart("task_diversity", title, panels, _sentence(models, found)))
    return charts


def diversity_verdicts(runs: Sequence[ReviewedRun], over: Sequence[str] = SEEDS) -> list[Verdict]:
    """Return whether the nearer learner changes, and where."""
    verdicts = []
    for models in _families(runs, over):
        found = crossing_of(models)
        answer: Answer = "cannot say"
        if found is not None:
            fewest, most = (choose(model.num_tasks for model in models) for choose in (min, max))
            if fewest < found.low and found.high < most:
                answer = "yes"
            elif not found.high or found.low > most:
                answer = "no"
        verdicts.append(Verdict(QUESTION, answer, _sentence(models, found)))
    return verdicts


def _families(runs: Sequence[ReviewedRun], over: Sequence[str]) -> list[list[DiverseModel]]:
    """Return the models that differ in the number of tasks, and in seeds, alone."""
    having = [run for run in runs if run.is_complete and has_distances(run.summary)]
    kept = [({key: value for key, value in run.config.items() if is_setting(key)}, run) for run in having]
    families = []
    for _, alike in by_setting(kept, (TASKS, *over)):
        models = [
            DiverseModel(number, tuple(run.config.get(key) for key in over), run.summary)
            for run in alike
            if isinstance(number := run.config.get(TASKS), int)
        ]
        if len({model.num_tasks for model in models}) > 1:
            families.append(models)
    return families


def _sentence(models: Sequence[DiverseModel], found: Crossing | None) -> str:
    if found is None:
        return "A distance is not a finite number."
    text = crossing_text(found, [model.num_tasks for model in models])
    return f"On new functions, by its predictions, the transformer is {text}."


def _panel(models: Sequence[DiverseModel], prefix: str, what: str, found: Crossing | None) -> Plot:
    learners = OPTIMAL if what == "distance" else ("transformer", *OPTIMAL)
    series = []
    for learner in learners:
        by_number: dict[int, list[float]] = {}
        for model in sorted(models, key=lambda model: model.num_tasks):
            if (value := model.summary.get(f"{prefix}{what}/{learner}")) is not None:
                by_number.setdefault(model.num_tasks, []).append(value)
        means = [spread(values) for values in by_number.values()]
        text = f"{what} {'to' if what == 'distance' else 'of'} {label(learner)}"
        series.append(
            Series(
                text,
                [float(number) for number in by_number],
                numbers(each.mean for each in means),
                numbers(each.low for each in means),
                numbers(each.high for each in means),
                ROLES[learner],
            )
        )
    is_within = found is not None and prefix == NEW and 0 < found.at < float("inf")
    marks = [Mark(found.at, "crossing", "x")] if found is not None and is_within else []
    axis = DISTANCE if what == "distance" else "squared error / inputs"
    return Plot(TITLES[prefix], Axis("pretraining tasks M", is_log=True), Axis(axis, is_log=True), series, marks)

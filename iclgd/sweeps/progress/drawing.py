"""The figures of a sweep's folder."""

import math
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from iclgd.checks import did_you_mean
from iclgd.files import write_atomically
from iclgd.report.figures import FORMATS, image, styled
from iclgd.report.sweep_figures import Point, metric_by
from iclgd.report.task_diversity_figures import TASKS, DiverseModel, has_distances, over_tasks
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.parameter import to_text
from iclgd.sweeps.progress.reading import SweepResults
from iclgd.tracking.run_directory import RunDirectory


def checked_formats(text: str) -> list[str]:
    """Return formats of figures, given with commas.

    Raises:
        SweepError: for one that is none.

    Example:
        >>> checked_formats("png,pdf")
        ['png', 'pdf']
    """
    formats = list(dict.fromkeys(text.split(",")))
    for given in formats:
        if given not in FORMATS:
            hint = did_you_mean(given, FORMATS)
            raise SweepError(f"--format must be a list of: {', '.join(FORMATS)}; got {given!r}{hint}")
    return formats


def draw(results: SweepResults, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Draw ``figures/metric_by_KEY`` for each swept key into the sweep's folder; return their paths.

    Of a sweep over pools of functions also ``figures/task_diversity``: how near models are to ridge and to dMMSE.

    Args:
        results: of a sweep with a metric.
        formats: of the files.
    """
    points = points_of(results)
    images: dict[str, bytes] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name may be in any script
        for key in results.keys:
            figure = metric_by(key, points, results.metric or "", about(results), results.goal == "minimize")
            images |= {f"metric_by_{key}.{ending}": image(figure, ending) for ending in formats}
        for name, figure in task_diversity_figures(results).items():
            images |= {f"{name}.{ending}": image(figure, ending) for ending in formats}
    folder = results.folder / "figures"
    for name, content in images.items():
        folder.mkdir(exist_ok=True)
        with write_atomically(folder / name) as file:
            file.write(content)
    return [folder / name for name in images]


def task_diversity_figures(results: SweepResults) -> dict[str, Figure]:
    """Return a figure over the number of pretraining tasks for each setting of the other keys, by file name."""
    found: dict[str, list[DiverseModel]] = {}
    for setting in results.settings:
        others = setting.text(key for key in results.keys if key != TASKS)
        for row in setting.rows:
            if row.state == "done" and row.run_directory is not None and TASKS in row.values:
                summary = RunDirectory(row.run_directory).read_summary(tell=lambda _: None) or {}
                if has_distances(summary):
                    seed = tuple(row.values.get(key) for key in results.seed_keys)
                    found.setdefault(others, []).append(DiverseModel(row.values[TASKS], seed, summary))
    several = {others: models for others, models in found.items() if len({model.num_tasks for model in models}) > 1}
    figures = {}
    for number, (others, models) in enumerate(several.items(), 1):
        name = "task_diversity" if len(several) == 1 else f"task_diversity_{number}"
        text = f"{about(results)}; {others}" if others else about(results)
        figures[name] = styled(partial(over_tasks, models, text))
    return figures


def points_of(results: SweepResults) -> list[Point]:
    """Return the trials that are done; of a setting's several trials with one seed the first."""
    points = []
    for setting in results.settings:
        values = {key: setting.values[key] for key in results.keys if key in setting.values}
        for seed, metric in setting.by_seed.items():
            points.append(Point({key: _shown(value) for key, value in values.items()}, seed, metric))
    return points


def _shown(value: Any) -> float | str:
    """Return a number, or a category's name."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else value if isinstance(value, str) else to_text(value)


def about(results: SweepResults) -> str:
    """Say what a figure of a sweep shows."""
    done = sum(row.state == "done" for row in results.rows)
    seeds = sorted({setting.done for setting in results.settings if setting.done})
    each = ""
    if results.has_repetitions:
        number = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        each = f"; {number} seeds a setting: mean and 95 % interval"
    return f"sweep {results.name}: config {Path(results.config).stem}; {done} of {len(results.rows)} trials{each}"

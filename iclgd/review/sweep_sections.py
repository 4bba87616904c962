"""The section of a sweep: which setting is best, and whether its runner-up can be told from it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from iclgd.report.comparisons import Estimate
from iclgd.review.attention_verdicts import attention_table, attention_verdicts
from iclgd.review.attentions import comparisons_of
from iclgd.review.charts import attention_charts, sweep_charts
from iclgd.review.commands import asked, command
from iclgd.review.document import Answer, Cell, Section, Table, Verdict
from iclgd.review.gather import ReviewedRun, ReviewedSweep
from iclgd.review.headline import headline
from iclgd.review.sections import capped, section_of, verdicts_of
from iclgd.review.settings import settings_of as settings_of_runs
from iclgd.review.surroundings import environment_of, other_versions
from iclgd.review.tables import queries_table, runs_table
from iclgd.review.task_diversity import diversity_charts, diversity_verdicts
from iclgd.review.texts import counted, shortened
from iclgd.runs.bases import Bases
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.progress.reading import SweepResults, read_sweep
from iclgd.sweeps.progress.settings import Setting, best_setting, difference, most_seeds, overlap, ranked
from iclgd.sweeps.progress.texts import against, found

TASK = "task.name"
MOST_SETTINGS = 50  # rows of the table
QUESTION = "Is the best setting like its runner-up?"


def sweep_section(sweep: ReviewedSweep, bases: Bases, over: Sequence[str]) -> Section | str:
    """Return a section, or a line that says why there is none.

    Args:
        sweep: to be read.
        bases: finds the configs that runs were made from.
        over: keys that are seeds; those that the sweep has count.
    """
    try:
        results = _read(sweep.path, over)
    except SweepError as error:
        return shortened(str(error), 400)
    if TASK in results.keys and sweep.runs:
        return _table_section(sweep, results, bases, over)
    order = ranked(results.settings, results.goal)
    best = best_setting(results.settings, results.goal)
    of_best = _runs_of(best, sweep.runs)
    settings = settings_of_runs(of_best, over)
    comparisons, not_compared = comparisons_of(settings_of_runs(sweep.runs, over))
    charts, no_charts = sweep_charts(results)
    problems = [line for run in sweep.runs for line in run.problems]
    best_commands = [command(run, bases) for run in of_best]
    queries = queries_table(of_best)
    return Section(
        title=f"sweep {shortened(results.name)}",
        asked=_asked(results, sweep.runs),
        verdicts=[
            *(each for comparison in comparisons for each in attention_verdicts(comparison)),
            *diversity_verdicts(sweep.runs, over),
            best_verdict(results),
            *(each for setting in settings for each in verdicts_of(setting)),
        ],
        headline=headline(settings),
        charts=[
            *(each for comparison in comparisons for each in attention_charts(comparison)),
            *diversity_charts(sweep.runs, over),
            *charts,
        ],
        tables=[
            *map(attention_table, comparisons),
            _table(results, order),
            *([runs_table(sweep.runs)] if sweep.runs else []),
            *([queries] if queries else []),
        ],
        commands=[results.command, *dict.fromkeys(best_commands)],
        environment=environment_of(sweep.runs),
        left_out=[
            *_not_done(results),
            *not_compared,
            *capped(problems, "files cannot be read"),
            *other_versions(sweep.runs),
            *no_charts,
        ],
        wandb_runs=[run.wandb_run for run in sweep.runs if run.wandb_run],
    )


def _table_section(sweep: ReviewedSweep, results: SweepResults, bases: Bases, over: Sequence[str]) -> Section:
    """Return the section of a sweep over tasks: numbers of different tasks are no competitors, and none is the best."""
    section = section_of(sweep.runs, bases, over)
    return replace(
        section,
        title=f"sweep {shortened(results.name)}",
        commands=[results.command, *section.commands],
        left_out=[*_not_done(results), *section.left_out],
    )


def _not_done(results: SweepResults) -> list[str]:
    """Return lines of the trials that failed, or are not done."""
    failures = [f"trial {row.number}: {row.state} ({row.failure})" for row in results.rows if row.failure]
    waiting = sum(row.state in ("waiting", "running") for row in results.rows)
    lines = capped(failures, "trials have failed")
    return [*lines, *([f"{counted(waiting, 'trial')} not done yet"] if waiting else [])]


def best_verdict(results: SweepResults) -> Verdict:
    """Return whether the best setting can be told from the second best.

    By the paired difference over the seeds that the two share: unlike if its 95 % interval excludes 0. With less than
    two of them, by their own intervals.
    """
    if results.metric is None:
        return Verdict(QUESTION, "cannot say", "The sweep names no metric, so that no setting is best.")
    best = best_setting(results.settings, results.goal)
    if best is None:
        return Verdict(QUESTION, "cannot say", f"No setting has a finite mean of {results.metric}.")
    why = best.why_not_best(most_seeds(results.settings))
    first = f"{'Provisionally, as ' + why + ', the' if why else 'The'} best setting of {results.metric} "
    first += f"({results.goal}) is {shortened(results.text(best), 120)}: {found(best)}."
    others = [each for each in ranked(results.settings, results.goal) if each is not best and each.is_finite]
    if not others:
        return Verdict(QUESTION, "cannot say", f"{first} No other setting has a finite mean.")
    second = others[0]
    sentence = f"{first} Its runner-up is {shortened(results.text(second), 120)}: {found(second)}; "
    sentence += f"{against(best, second)}."
    return Verdict(QUESTION, "cannot say" if why else _told(best, second), sentence)


def _told(best: Setting, second: Setting) -> Answer:
    paired = difference(best, second)
    if paired is not None:
        if not math.isfinite(paired.high - paired.low):
            return "cannot say"
        return "not told from its control" if paired.low <= 0 <= paired.high else "unlike"
    overlaps = overlap(best.spread, second.spread) if best.spread and second.spread else None
    if overlaps is None:
        return "cannot say"
    return "not told from its control" if overlaps else "unlike"


def _read(path: Path, over: Sequence[str]) -> SweepResults:
    """Read a sweep; of the keys that are seeds only those that it has are its."""
    results = read_sweep(path)
    swept = {key for row in results.rows for key in row.values}
    asked_for = [key for key in over if key in swept]
    return read_sweep(path, asked_for) if set(asked_for) != set(results.seed_keys) else results


def _asked(results: SweepResults, runs: Sequence[ReviewedRun]) -> str:
    keys = ", ".join(shortened(key) for key in results.keys) or "seeds alone"
    settings, trials = counted(len(results.settings), "setting"), counted(len(results.rows), "trial")
    text = (
        f"Which setting is best of {settings} in {trials} of {shortened(results.config)}, to {results.goal} "
        f"{shortened(results.metric or 'nothing')}? Swept: {keys}."
    )
    return f"{text} {asked(runs)}" if runs else text


def _runs_of(setting: Setting | None, runs: Sequence[ReviewedRun]) -> list[ReviewedRun]:
    """Return the runs of a setting's trials."""
    names = {row.run_directory.name for row in setting.rows if row.run_directory is not None} if setting else set()
    return [run for run in runs if run.name in names]


def _table(results: SweepResults, order: Sequence[Setting]) -> Table:
    """Return the settings, the best first."""
    metric = shortened(results.metric or "metric")
    rows: list[list[Cell]] = []
    most = most_seeds(results.settings)
    for place, setting in enumerate(order[:MOST_SETTINGS], start=1):
        values: list[Cell] = [_cell(setting, key) for key in results.keys]
        estimate = Estimate(*setting.spread[:3]) if setting.spread is not None else None
        rows.append([float(place), *values, estimate, float(setting.done), setting.why_not_best(most) or None])
    note = f"Means over seeds with 95 % intervals; the best is first ({results.goal})."
    if len(order) > MOST_SETTINGS:
        note += f" The first {MOST_SETTINGS} of {counted(len(order), 'setting')}."
    return Table("Settings", ["place", *results.keys, metric, "seeds", "why it cannot be the best"], rows, note)


def _cell(setting: Setting, key: str) -> Cell:
    value = setting.values.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None if value is None else shortened(value)

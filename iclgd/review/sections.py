"""One section of a review: the runs of one config and experiment."""

from collections.abc import Callable, Sequence

from iclgd.report.settings import SEEDS
from iclgd.review.attention_verdicts import attention_table, attention_verdicts
from iclgd.review.attentions import comparisons_of
from iclgd.review.charts import attention_charts, charts_of
from iclgd.review.commands import asked, commands_of
from iclgd.review.document import Section, Table, Verdict
from iclgd.review.few_shot_verdicts import few_shot_verdicts
from iclgd.review.gather import ReviewedRun
from iclgd.review.headline import headline
from iclgd.review.language_verdicts import language_verdicts
from iclgd.review.regression_verdicts import learner_verdicts, regression_verdicts
from iclgd.review.settings import Setting, settings_of
from iclgd.review.surroundings import environment_of, other_versions
from iclgd.review.tables import queries_table, runs_table, settings_table
from iclgd.review.task_diversity import diversity_charts, diversity_verdicts
from iclgd.review.text_tables import answers_table, controls_table, verdicts_over_tasks, verdicts_table
from iclgd.review.text_verdicts import text_verdicts
from iclgd.review.texts import counted, shortened
from iclgd.review.wide_headline import wide_headline
from iclgd.runs.bases import Bases

QUESTION = "Is in-context learning like gradient descent?"
MOST_SETTINGS = 6  # whose verdicts are told in sentences; tables have more
MOST_LINES = 20  # of one kind of what was left out
VERDICTS: dict[str, Callable[[Setting], list[Verdict]]] = {
    "regression": regression_verdicts,
    "text": text_verdicts,
    "few_shot": few_shot_verdicts,
    "language_modeling": language_verdicts,
    "functions": learner_verdicts,
}


def section_of(runs: Sequence[ReviewedRun], bases: Bases, over: Sequence[str] = SEEDS) -> Section:
    """Return a section.

    Args:
        runs: with the same config name and experiment, at least one.
        bases: finds the configs that they were made from.
        over: keys of configs that are repetitions.
    """
    settings = settings_of(runs, over)
    comparisons, not_compared = comparisons_of(settings)
    verdicts = [verdicts_of(setting) for setting in settings]
    left_out = [
        *not_complete(runs),
        *not_compared,
        *capped([_repeated(run) for setting in settings for run in setting.repeated], "runs repeat others"),
    ]
    charts, no_charts = charts_of(runs, over)
    of_tasks = verdicts_over_tasks(settings, verdicts) if settings and settings[0].experiment == "text" else []
    is_wide = len(settings) > 1 and settings[0].has_draws  # a row for each setting
    queries = queries_table([run for setting in settings for run in setting.runs])
    commands = commands_of([run for run in runs if run.is_complete] or runs, bases, left_out)
    problems = [line for run in runs for line in run.problems]
    return Section(
        title=shortened(runs[0].config_name) or "runs",
        asked=asked(runs),
        verdicts=[
            *(each for comparison in comparisons for each in attention_verdicts(comparison)),
            *diversity_verdicts(runs, over),
            *(of_tasks or [each for found in verdicts[:MOST_SETTINGS] for each in found] or [_none(runs)]),
        ],
        headline=wide_headline(settings) if is_wide else headline(settings),
        charts=[
            *(each for comparison in comparisons for each in attention_charts(comparison)),
            *diversity_charts(runs, over),
            *charts,
        ],
        tables=[
            *map(attention_table, comparisons),
            *_tables(settings, verdicts),
            runs_table(runs),
            *([queries] if queries else []),
        ],
        commands=commands,
        environment=environment_of(runs),
        left_out=[*left_out, *capped(problems, "files cannot be read"), *other_versions(runs), *no_charts],
        wandb_runs=[run.wandb_run for run in runs if run.wandb_run],
    )


def _tables(settings: Sequence[Setting], verdicts: Sequence[Sequence[Verdict]]) -> list[Table]:
    """Return the tables that have a row for each of several settings."""
    if len(settings) < 2:
        return []
    if settings[0].experiment == "text":
        return [answers_table(settings, verdicts), controls_table(settings), verdicts_table(settings, verdicts)]
    return [settings_table(settings, [each[0].answer for each in verdicts], _question(settings, verdicts))]


def verdicts_of(setting: Setting) -> list[Verdict]:
    """Return the answers for a setting, at least one."""
    judge = VERDICTS.get(setting.experiment)
    found = judge(setting) if judge is not None else []
    question = f"{setting.label}: {QUESTION}" if setting.label else QUESTION
    return found or [Verdict(question, "cannot say", "Nothing that says so was measured.")]


def not_complete(runs: Sequence[ReviewedRun]) -> list[str]:
    """Return a line for each run that has no final numbers."""
    lines = [
        f"{run.path}: {run.state}{f' ({shortened(run.record.problem, 200)})' if run.record.problem else ''}; "
        "its numbers are in no table and no verdict"
        for run in runs
        if not run.is_complete
    ]
    return capped(lines, "runs are not complete")


def capped(lines: Sequence[str], what: str) -> list[str]:
    """Return the first of many lines, and how many more there are."""
    shown = [shortened(line, 400) for line in dict.fromkeys(lines)]
    if len(shown) <= MOST_LINES:
        return shown
    return [*shown[:MOST_LINES], f"and {len(shown) - MOST_LINES:,} more: {what}"]


def _none(runs: Sequence[ReviewedRun]) -> Verdict:
    states = sorted({run.state for run in runs})
    return Verdict(QUESTION, "cannot say", f"None of {counted(len(runs), 'run')} is complete: {', '.join(states)}.")


def _repeated(run: ReviewedRun) -> str:
    return f"{run.path}: has the setting and seeds of a later run, which is no repetition: it counts for nothing"


def _question(settings: Sequence[Setting], verdicts: Sequence[Sequence[Verdict]]) -> str:
    """Return the first question without a setting's label."""
    if not settings:
        return ""
    label = settings[0].label
    return verdicts[0][0].question.removeprefix(f"{label}: " if label else "")

"""Many settings of text runs together: the answers, and each measure beside what it is held against."""

from collections.abc import Iterable, Sequence

from iclgd.review.document import Answer, Cell, Table, Verdict
from iclgd.review.settings import Setting, value_text
from iclgd.review.text_verdicts import MEASURES, Measure, controls_of
from iclgd.review.texts import counted, listed, shortened
from iclgd.review.verdict import estimate_text
from iclgd.review.wide_headline import mean_over, over_tasks

MOST_SETTINGS, MOST_NAMES = 50, 12
TASK = "task.name"


def verdicts_over_tasks(settings: Sequence[Setting], verdicts: Sequence[Sequence[Verdict]]) -> list[Verdict]:
    """Return an answer to each question for the settings that differ in their task alone; nothing where none do.

    It is that of every task if all have the same, else *cannot say*, with who has which. Numbers are means of tasks.

    Args:
        settings: of text runs.
        verdicts: of each, from :func:`iclgd.review.text_verdicts.text_verdicts`.
    """
    answers = {
        (setting.label, verdict.question): verdict.answer
        for setting, of in zip(settings, verdicts, strict=True)
        for verdict in of
    }
    found = []
    for label, together in over_tasks(settings):
        for measure in MEASURES:
            asked = [(each, answers.get((each.label, f"{each.label}: {measure.asks}"))) for each in together]
            if there := [(setting, answer) for setting, answer in asked if answer is not None]:
                found.append(_over_tasks(label, measure, there))
    return found


def _over_tasks(label: str, measure: Measure, answers: Sequence[tuple[Setting, Answer]]) -> Verdict:
    tasks: dict[Answer, list[str]] = {}
    settings = [setting for setting, _ in answers]
    for setting, answer in answers:
        tasks.setdefault(answer, []).append(shortened(value_text(setting.config.get(TASK, "?"))))
    told = "; ".join(f"{answer}: {listed(names, MOST_NAMES)}" for answer, names in tasks.items())
    controls = list(dict.fromkeys(name for setting in settings for name in controls_of(setting)))
    beside = [(measure.called, measure.baseline), *((name, f"{name}/{measure.name}") for name in controls)]
    numbers = [f"{shortened(called)} {_mean_text(settings, name)}" for called, name in beside if name is not None]
    sentence = f"{told}. Mean of {counted(len(answers), 'task')}: {measure.label} {_mean_text(settings, measure.name)}"
    return Verdict(
        f"{label}: {measure.asks}",
        next(iter(tasks)) if len(tasks) == 1 else "cannot say",
        f"{sentence}, beside {', '.join(numbers)}." if numbers else f"{sentence}.",
    )


def _mean_text(settings: Iterable[Setting], name: str) -> str:
    return estimate_text(mean_over([setting.estimate(name) for setting in settings]))


def verdicts_table(settings: Sequence[Setting], verdicts: Sequence[Sequence[Verdict]]) -> Table:
    """Return a row for each setting and question, with the sentence that has the numbers that decide.

    Args:
        settings: of text runs.
        verdicts: of each.
    """
    rows: list[list[Cell]] = [
        [setting.label, verdict.question.removeprefix(f"{setting.label}: "), verdict.answer, verdict.sentence]
        for setting, found in zip(settings[:MOST_SETTINGS], verdicts, strict=False)
        for verdict in found
    ]
    return Table("Verdicts", ["setting", "question", "answer", "why"], rows)


def answers_table(settings: Sequence[Setting], verdicts: Sequence[Sequence[Verdict]]) -> Table:
    """Return a row for each setting with the answer of each measure.

    Args:
        settings: of text runs.
        verdicts: of each, from :func:`iclgd.review.text_verdicts.text_verdicts`.
    """
    rows: list[list[Cell]] = []
    for setting, found in zip(settings[:MOST_SETTINGS], verdicts, strict=False):
        answers = {verdict.question.removeprefix(f"{setting.label}: "): verdict.answer for verdict in found}
        rows.append([setting.label, float(len(setting.repetitions)), *(answers.get(each.asks) for each in MEASURES)])
    return Table(
        "Answers",
        ["setting", "draws", *(each.label for each in MEASURES)],
        rows,
        "Is in-context learning like finetuning, more than the random baseline and every control?",
    )


def controls_table(settings: Sequence[Setting]) -> Table:
    """Return a row for each setting and measure: its number beside its baseline's and every control's.

    Args:
        settings: of text runs.
    """
    controls = list(dict.fromkeys(name for setting in settings for name in controls_of(setting)))
    rows: list[list[Cell]] = []
    for measure in MEASURES:
        for setting in settings[:MOST_SETTINGS]:
            ours = setting.estimate(measure.name)
            if ours is None:
                continue
            baseline = None if measure.baseline is None else setting.estimate(measure.baseline)
            of_controls = [setting.estimate(f"{name}/{measure.name}") for name in controls]
            rows.append([measure.label, setting.label, ours, baseline, *of_controls])
    columns = ["measure", "setting", "ours", "baseline", *(name.replace("_", " ") for name in controls)]
    called = ", ".join(f"{each.label}: {each.called}" for each in MEASURES if each.baseline is not None)
    return Table("Beside baselines and controls", columns, rows, f"Baselines: {called}.")

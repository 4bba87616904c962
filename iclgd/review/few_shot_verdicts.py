"""Does a language model learn in its context? Only if it is right more often after demonstrations than without."""

from iclgd.report.by_demonstrations import accuracy_after, numbers_in
from iclgd.review.document import Answer, Verdict
from iclgd.review.settings import Setting
from iclgd.review.texts import counted
from iclgd.review.verdict import Relation, compare, estimate_text

QUESTION = "Does the model learn in its context: is it right more often after demonstrations?"
ANSWERS: dict[Relation, Answer] = {"above": "better in context", "below": "worse in context"}
ZERO_SHOT = accuracy_after(0)


def few_shot_verdicts(setting: Setting) -> list[Verdict]:
    """Return whether accuracy after the most demonstrations is above that zero-shot; no best number is looked for."""
    question = f"{setting.label}: {QUESTION}" if setting.label else QUESTION
    names = {name for each in setting.repetitions for name in each.numbers}
    most = max(numbers_in(names), default=0)
    found = compare(setting, accuracy_after(most), ZERO_SHOT) if most else None
    if found is None:
        return [Verdict(question, "cannot say", "No accuracies after several numbers of demonstrations were recorded.")]
    after, before = (setting.estimate(name) for name in (accuracy_after(most), ZERO_SHOT))
    draws = len(setting.repetitions)
    how = f"paired by query over {counted(draws, 'draw')} of demonstrations" if draws > 1 else "of one draw"
    sentence = (
        f"The accuracy is {estimate_text(after)} after {most} demonstrations and {estimate_text(before)} without, a "
        f"difference of {estimate_text(found.difference)} ({how})."
    )
    return [Verdict(question, ANSWERS.get(found.relation, "cannot say"), sentence)]

"""What can be said of a language model: whether it learns in its context; not, whether by gradient descent."""

import math

from iclgd.report.by_demonstrations import accuracy_after, numbers_in
from iclgd.review.document import Verdict
from iclgd.review.settings import Setting
from iclgd.review.verdict import estimate_text, not_finite, over_repetitions, paired

QUESTION = "Does the language model learn in its context as by gradient descent?"
FEWEST = 2  # numbers of demonstrations, and repetitions, to compare


def language_verdicts(setting: Setting) -> list[Verdict]:
    """Return how the accuracy grows with the number of demonstrations, and that likeness was not measured."""
    question = f"{setting.label}: {QUESTION}" if setting.label else QUESTION
    names = {name for each in setting.repetitions for name in each.numbers}
    numbers = [(number, accuracy_after(number)) for number in numbers_in(names)]
    if len(numbers) < FEWEST:
        return [Verdict(question, "cannot say", "No accuracies after several numbers of demonstrations were recorded.")]
    (few, fewest), (many, most) = numbers[0], numbers[-1]
    gains = setting.derived(lambda each: each.numbers.get(most, math.nan) - each.numbers.get(fewest, math.nan))
    if not_finite(gains):
        return [Verdict(question, "cannot say", "Accuracies are not finite numbers in a run.")]
    told = ""
    if len(gains) >= FEWEST:
        found = paired(gains)
        told = f", a difference of {estimate_text(found.difference)}"
        told += "" if found.relation == "above" else ", which is not told to be a gain"
    before, after = (estimate_text(setting.estimate(name)) for name in (fewest, most))
    sentence = (
        f"The accuracy is {before} after {few} demonstrations and {after} after {many}{told} "
        f"({over_repetitions(setting, len(gains))}; an answer at random, among all words, is hardly ever right). "
        "Such a run measures no likeness to gradient descent: text runs of the model do."
    )
    return [Verdict(question, "cannot say", sentence)]

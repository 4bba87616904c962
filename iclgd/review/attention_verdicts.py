"""Does momentum attention help? By differences to plain attention that are paired over seeds, never by means alone.

[Dai] section 5 reports lower perplexity and better in-context accuracy for models with momentum attention.
"""

from typing import NamedTuple

from iclgd.report.comparisons import Estimate
from iclgd.report.tables import by_numbers
from iclgd.review.attentions import Attention, Comparison, number_named, rates_text
from iclgd.review.document import Answer, Cell, Table, Verdict
from iclgd.review.headline import PARTS
from iclgd.review.texts import counted, shortened
from iclgd.review.verdict import Relation, estimate_text, not_finite, paired

IN_CONTEXT = "accuracy/in_context/"  # begins the names of what text runs have found
FEWEST_SEEDS = 2  # that both have: of one pair nothing is known of another


class Measure(NamedTuple):
    """What momentum attention may be better in.

    Attributes:
        name: of the summary.
        question: is asked of it.
        label: in sentences.
        below: the answer if momentum has less.
        above: the answer if it has more.
    """

    name: str
    question: str
    label: str
    below: Answer
    above: Answer


def measures_of(comparison: Comparison) -> list[Measure]:
    """Return what the runs say: perplexity, accuracy over all demonstrations, and what their text runs have found."""
    help_with = "Does momentum attention help:"
    found = [
        Measure(
            "val/perplexity",
            f"{help_with} is the perplexity lower?",
            "The perplexity",
            "lower perplexity",
            "higher perplexity",
        )
    ]
    own = f"accuracy/{comparison.plain.setting.config.get('task.name')}"
    for name in sorted(comparison.names):
        if name == own or name.startswith(IN_CONTEXT):
            task = name.removeprefix(IN_CONTEXT).removeprefix("accuracy/")
            question = f"{help_with} is the in-context accuracy on {shortened(task)} better?"
            label = f"The in-context accuracy on {shortened(task)}"
            found.append(Measure(name, question, label, "worse in context", "better in context"))
    return found


def attention_verdicts(comparison: Comparison) -> list[Verdict]:
    """Return a verdict for each momentum and each measure that the runs have."""
    return [
        found
        for attention in comparison.momenta
        for measure in measures_of(comparison)
        if (found := _verdict(comparison, attention, measure)) is not None
    ]


def _verdict(comparison: Comparison, attention: Attention, measure: Measure) -> Verdict | None:
    name, plain = measure.name, comparison.plain
    ours, theirs = (each.setting.estimate(name) for each in (attention, plain))
    if ours is None or theirs is None:
        return None
    label = ", ".join(text for text in (comparison.label, attention.label) if text)
    question = f"{label}: {measure.question}"
    differences = attention.differences(plain, number_named(name))
    if bad := not_finite([*attention.setting.values(name), *plain.setting.values(name)]):
        return Verdict(question, "cannot say", f"{measure.label} is not a finite number in {counted(bad, 'run')}.")
    if len(differences) < FEWEST_SEEDS:
        why = f"They share {counted(len(differences), 'seed')}: of so few nothing can be said of others."
        return Verdict(question, "cannot say", why)
    found = paired(differences)
    answers: dict[Relation, Answer] = {
        "below": measure.below,
        "above": measure.above,
        "not told": "not told from plain",
        "not known": "cannot say",
    }
    sentence = (
        f"{measure.label} is {estimate_text(ours)} with {attention.label} and {estimate_text(theirs)} with plain "
        f"attention, a difference of {estimate_text(found.difference)}, paired over {counted(found.number, 'seed')} "
        f"({rates_text([plain, attention])})."
    )
    return Verdict(question, answers[found.relation], sentence)


def attention_table(comparison: Comparison) -> Table:
    """Return all numbers of a comparison: of each attention the mean, and of momentum the difference to plain."""
    rows: list[list[Cell]] = []
    for name in sorted(filter(_is_shown, comparison.names), key=by_numbers):
        for attention in comparison.attentions:
            if (value := attention.setting.estimate(name)) is None:
                continue
            differences = attention.differences(comparison.plain, number_named(name))
            difference: Estimate | None = None
            if attention is not comparison.plain and differences:
                difference = paired(differences).difference
            seeds = float(len(attention.setting.values(name)))
            rows.append([name, attention.label, attention.rate, seeds, value, difference])
    note = (
        "Means with 95 % intervals over seeds; differences are paired by seed, and not corrected for their number; "
        f"{rates_text(comparison.attentions)}."
    )
    title = f"Momentum attention beside plain{f', {comparison.label}' if comparison.label else ''}"
    return Table(title, ["number", "attention", "learning rate", "seeds", "value", "less plain's"], rows, note)


def _is_shown(name: str) -> bool:
    return name.startswith(("val/", "accuracy/")) and not any(part in name for part in PARTS)

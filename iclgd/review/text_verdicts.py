"""Is in-context learning like finetuning on the demonstrations? Only if it is more so than where it must not be.

A similarity counts if it is above its random baseline, and above that of every control: [Deutch] have shown that
untrained models are alike, too. Without a control it cannot be said more than that it is not random.
"""

import math
from typing import NamedTuple

from iclgd.report.chance import at_random
from iclgd.report.comparisons import Estimate
from iclgd.review.document import Answer, Verdict
from iclgd.review.settings import Setting
from iclgd.review.texts import counted, listed, shortened
from iclgd.review.verdict import (
    IN_WORDS,
    Comparison,
    compare,
    estimate_text,
    not_finite,
    of_intervals,
    told,
)


class Measure(NamedTuple):
    """A measure of likeness.

    Attributes:
        name: of the summary.
        label: in sentences.
        asks: what is asked of it.
        baseline: the summary name of its baseline; ``None`` for what answers at random would have.
        called: the baseline.
    """

    name: str
    label: str
    asks: str
    baseline: str | None
    called: str


MEASURES = (
    Measure(
        "sim_aou",
        "SimAOU",
        "Does in-context learning change attention outputs as finetuning on the demonstrations does?",
        "sim_aou_random",
        "random updates",
    ),
    Measure(
        "kendall",
        "Kendall's tau-b",
        "Does in-context learning attend to the demonstrations in the order of finetuning's attention?",
        "kendall_random",
        "random attention",
    ),
    Measure(
        "sim_am",
        "SimAM",
        "Is in-context attention to the query more like the finetuned than like the zero-shot one?",
        "sim_am_zero_shot",
        "zero-shot attention",
    ),
    Measure(
        "rec2ftp",
        "Rec2FTP",
        "Does in-context learning put right what finetuning puts right?",
        None,
        "answers at random",
    ),
)
CONTROLS = "evaluation.controls"  # key of the config
SETTINGS = ("zero_shot", "in_context", "finetuned")


def text_verdicts(setting: Setting) -> list[Verdict]:
    """Return a verdict for each measure that was made."""
    return [found for measure in MEASURES if (found := _likeness(setting, measure)) is not None]


def controls_of(setting: Setting) -> list[str]:
    """Return the controls that a setting's runs were made with, by their names."""
    controls = setting.config.get(CONTROLS, ())
    return [str(name) for name in controls] if isinstance(controls, tuple) else []


def _likeness(setting: Setting, measure: Measure) -> Verdict | None:
    ours = setting.estimate(measure.name)
    if ours is None:
        return None
    question = f"{setting.label}: {measure.asks}" if setting.label else measure.asks
    values = setting.values(measure.name)
    number = len(values)
    if not math.isfinite(ours.value) and (bad := not_finite(values)):
        why = "nothing was put right by finetuning" if measure.name == "rec2ftp" else "it diverged, or is not defined"
        return Verdict(
            question, "cannot say", f"{measure.label} is not a finite number in {bad} of {_runs(setting)} ({why})."
        )
    how = (
        f"Over {counted(number, 'draw')} of demonstrations; differences are paired by {_pairs(setting, measure)}"
        if number > 1
        else "Of one draw of demonstrations; intervals are over its queries, and say nothing of other draws"
    )
    baseline = _baseline(setting, measure, ours)
    controls = {name: compare(setting, measure.name, f"{name}/{measure.name}") for name in controls_of(setting)}
    texts = [_against(setting, measure.called, measure.baseline, baseline)]
    texts += [_against(setting, shortened(name), f"{name}/{measure.name}", each) for name, each in controls.items()]
    answer, why = _answer(baseline, controls)
    mind = _finetuning(setting) if measure is MEASURES[0] else ""  # once for all measures
    sentence = f"{measure.label} is {estimate_text(ours)}; beside it {'; '.join(texts)}.{why} {how}.{mind}"
    return Verdict(question, answer, sentence)


def _answer(baseline: Comparison | None, controls: dict[str, Comparison | None]) -> tuple[Answer, str]:
    """Return the answer, and what the sentence adds to the numbers."""
    if baseline is None or baseline.relation == "not known":
        return "cannot say", " Its random baseline, or an interval, was not recorded."
    if baseline.relation != "above":
        return "unlike", ""
    if not controls:
        return "cannot say", " No control was run: it cannot be said more than that this is not random."
    missing = [name for name, each in controls.items() if each is None or each.relation == "not known"]
    lower = [name for name, each in controls.items() if each is not None and each.relation in ("not told", "below")]
    if lower:
        return "not told from its control", f" {listed([shortened(name) for name in lower])}: as alike, or more."
    if missing:
        return "cannot say", f" Not known of the control {listed([shortened(name) for name in missing])}."
    return "like", ""


def _baseline(setting: Setting, measure: Measure, ours: Estimate) -> Comparison | None:
    if measure.baseline is not None:
        return compare(setting, measure.name, measure.baseline)
    chance = chance_of(setting)
    if chance is None:
        return None
    at_random = 100 * chance
    values = setting.values(measure.name)
    if len(values) > 1:
        return told(Estimate(*(each - at_random for each in ours)), len(values))
    relation = of_intervals(ours, Estimate(at_random, at_random, at_random))
    return Comparison(relation, Estimate(ours.value - at_random), 1)


def chance_of(setting: Setting) -> float | None:
    """Return how often an answer at random is right; ``None`` if no run says between how many is chosen."""
    found = (at_random(run.predictions) for run in setting.runs)
    return next((chance.share for chance in found if chance is not None), None)


def _against(setting: Setting, called: str, name: str | None, comparison: Comparison | None) -> str:
    """Return a baseline or control with its numbers, and how the measure lies to it."""
    if comparison is None:
        return f"{called}: not recorded"
    theirs = setting.estimate(name) if name is not None else None
    chance = chance_of(setting)
    value = estimate_text(theirs) if name is not None else f"{100 * (chance or math.nan):.3g}"
    difference = f"; difference {estimate_text(comparison.difference)}" if comparison.is_paired else ""
    return f"{called}: {value} ({IN_WORDS[comparison.relation]}{difference})"


def _finetuning(setting: Setting) -> str:
    """Warn where finetuning has not helped: likeness to it is then none to learning."""
    found = compare(setting, "accuracy/finetuned", "accuracy/zero_shot")
    if found is None or found.relation == "above":
        return ""
    texts = [f"{name.replace('_', '-')} {estimate_text(setting.estimate(f'accuracy/{name}'))}" for name in SETTINGS]
    return f" Mind that finetuning is not told to be better than zero-shot: accuracy {', '.join(texts)}."


def _pairs(setting: Setting, measure: Measure) -> str:
    return "draw and query" if setting.crossed(measure.name) is not None else "draw"


def _runs(setting: Setting) -> str:
    return counted(len(setting.repetitions), "run")

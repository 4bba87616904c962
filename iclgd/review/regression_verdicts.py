"""Is the trained transformer like gradient descent? By its loss, its sensitivities and its predictions, over seeds.

The bounds are those by which :mod:`iclgd.analysis.algorithms` calls a learner near: a distance of at most 20 % between
sensitivities. Of two vectors of the same length that is a cosine of 0.98, and 4 % of the square.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from iclgd.report.comparisons import Estimate
from iclgd.report.settings import spread
from iclgd.report.style import label
from iclgd.review.document import Answer, Verdict
from iclgd.review.settings import Repetition, Setting
from iclgd.review.texts import counted, listed, shortened
from iclgd.review.verdict import estimate_text, not_finite, over_repetitions, paired, placed

# A distance of 20 % between two vectors of one length is 2 (1 - cosine) = 0.04.
LEAST_COSINE = 0.98
# 4 % of the square, and 1 % for what the reference is fitted to: published one and two layers end 0.3 % and 1.9 % above
# their references, softmax attention, which is another function, 6 %.
MOST_LOSS_DIFFERENCE = 0.05
# Of the reference's own distance from the targets, sqrt(2 loss): the same 20 %.
MOST_DISTANCE = 0.2
FEWEST_SEEDS = 2  # of a verdict: of one trained model nothing is known of another
FEWEST_MEASURES = 2  # loss and cosine, or one of them and the distance
COSINE, DISTANCE, TRANSFORMER = "alignment/sensitivity_cosine", "alignment/prediction_l2", "loss/transformer"
BASELINES = ("ridge", "least_squares")
WHICH_ALGORITHM = "which_algorithm"


def regression_verdicts(setting: Setting) -> list[Verdict]:
    """Return a verdict for each reference that the transformers were compared with, and one of ``which_algorithm``."""
    return [*(_likeness(setting, name) for name in references(setting)), *learner_verdicts(setting)]


def references(setting: Setting) -> list[str]:
    """Return the learners whose alignment was measured; the first one's names have no suffix."""
    names = {name for each in setting.repetitions for name in each.numbers}
    if COSINE not in names:
        return []
    suffixed = sorted(name.removeprefix(f"{COSINE}_") for name in names if name.startswith(f"{COSINE}_"))
    # Any other learner's loss is one of a baseline, which has no parameters that were fitted.
    first = [each for each in ("gd", "mlp_gd") if f"loss/{each}" in names and each not in suffixed]
    return [*first[:1], *suffixed]


def suffix_of(setting: Setting, reference: str) -> str:
    """Return with what a reference's alignment ends."""
    return "" if reference == references(setting)[0] else f"_{reference}"


def loss_ratio(each: Repetition, reference: str) -> float | None:
    """Return the transformer's loss over a reference's on the same tasks; NaN where that is 0."""
    names = TRANSFORMER, f"loss/{reference}"
    if any(name not in each.numbers for name in names):
        return None
    ours, theirs = (each.numbers[name] for name in names)
    return ours / theirs if theirs else math.nan


def relative_distance(each: Repetition, reference: str, suffix: str) -> float | None:
    """Return the distance between predictions over the reference's root mean squared error."""
    distance, loss = each.numbers.get(f"{DISTANCE}{suffix}"), each.numbers.get(f"loss/{reference}")
    if distance is None or loss is None:
        return None
    return distance / math.sqrt(2 * loss) if loss > 0 else math.nan


class _Measured(NamedTuple):
    """A number of every repetition, the bounds within which it is that of something alike, and how it is said."""

    before: str
    values: list[float]
    after: str
    low: float
    high: float

    @property
    def estimate(self) -> Estimate:
        return Estimate(*spread(self.values)[:3])

    @property
    def text(self) -> str:
        return f"{self.before}{estimate_text(self.estimate)}{self.after}"


BOUNDS = (
    f"; alike are a loss within {MOST_LOSS_DIFFERENCE:.0%}, a cosine of at least {LEAST_COSINE}, and a distance of at "
    f"most {MOST_DISTANCE}"
)


def _likeness(setting: Setting, reference: str) -> Verdict:
    called, suffix = label(reference), suffix_of(setting, reference)
    question = _question(setting, f"Is the trained transformer like {called}?")
    measured = _measured(setting, reference, called, suffix)
    if diverged := [each.before.strip() for each in measured if not_finite(each.values)]:
        return Verdict(question, "cannot say", f"Not a finite number in a run: {listed(diverged)}.")
    number = min((len(each.values) for each in measured), default=0)
    sentence = f"{_capital(listed([each.text for each in measured]))}, {over_repetitions(setting, number)}"
    against, is_above = _against_untrained(setting, suffix)
    ending = f". {against}{_baselines(setting)}"
    if len(measured) < FEWEST_MEASURES or number < FEWEST_SEEDS:
        why = "one seed tells nothing of another" if number == 1 else "not enough was recorded"
        return Verdict(question, "cannot say", f"{sentence}: {why}{BOUNDS}{ending}")
    places = [placed(each.estimate, each.low, each.high) for each in measured]
    answer: Answer = "cannot say"
    reason = ""
    if "beyond" in places:
        answer = "unlike"
    elif any(place != "within" for place in places):
        reason = ": an interval reaches over its bound"
    elif is_above is not None:
        answer = "like" if is_above else "not told from its control"
    return Verdict(question, answer, f"{sentence}{BOUNDS}{reason}{ending}")


def _measured(setting: Setting, reference: str, called: str, suffix: str) -> list[_Measured]:
    """Return what the answer rests on, as far as it was recorded."""
    ratios = setting.derived(lambda each: loss_ratio(each, reference))
    distances = setting.derived(lambda each: relative_distance(each, reference, suffix))
    found = [
        _Measured(
            "its loss is ", ratios, f" times that of {called}", 1 - MOST_LOSS_DIFFERENCE, 1 + MOST_LOSS_DIFFERENCE
        ),
        _Measured(
            "the cosine of their sensitivities ", setting.values(f"{COSINE}{suffix}"), "", LEAST_COSINE, math.inf
        ),
        _Measured("their predictions' distance ", distances, f" of the error of {called}", -math.inf, MOST_DISTANCE),
    ]
    return [each for each in found if each.values]


def _against_untrained(setting: Setting, suffix: str) -> tuple[str, bool | None]:
    """Return what training has changed, and whether that is told from nothing; ``None`` if it is not known."""
    name = f"{COSINE}{suffix}"
    pairs = [
        (each.numbers[name], each.untrained[name])
        for each in setting.repetitions
        if name in each.numbers and name in each.untrained
    ]
    if not pairs:
        return "The control, the same weights before training, was not recorded", None
    before = Estimate(*spread([first for _, first in pairs])[:3])
    text = f"Its control, the same weights before training, has a cosine of {estimate_text(before)}"
    if len(pairs) < FEWEST_SEEDS:
        return text, None
    found = paired([ours - first for ours, first in pairs])
    text += f" (difference {estimate_text(found.difference)}, paired over {counted(len(pairs), 'seed')})"
    return text, None if found.relation == "not known" else found.relation == "above"


def _baselines(setting: Setting) -> str:
    """Return the losses of learners that are no gradient descent."""
    found = {name: setting.estimate(f"loss/{name}") for name in BASELINES}
    texts = [f"{label(name)} {each.value:.4g}" for name, each in found.items() if each is not None]
    ours = setting.estimate(TRANSFORMER)
    if not texts or ours is None:
        return "."
    return f"; baselines: loss of {listed(texts)}, of the transformer {ours.value:.4g}."


def learner_verdicts(setting: Setting) -> list[Verdict]:
    """Return what ``which_algorithm`` says of the last layer, or of all positions, if any run has it."""
    found = [each for run in setting.runs for each in _last_layers(run.analyses.get(WHICH_ALGORITHM))]
    if not found:
        return []
    question = _question(setting, "Which known learner has the trained transformer become?")
    called = [shortened(each.get("learner", "")) for each in found]
    shares = [_share(each) for each in found]
    if not_finite(shares):
        return [Verdict(question, "cannot say", "The distance to the nearest learner is not a number in a run.")]
    near = [each.get("is_near") is True for each in found]
    nearest = listed(list(dict.fromkeys(shortened(each.get("nearest", "")) for each in found)))
    distance = estimate_text(Estimate(*spread([100 * share for share in shares])[:3]))
    sentence = (
        f"Nearest of all that were tried: {nearest}, at {distance} % of the sensitivity's norm "
        f"({over_repetitions(setting, len(found))}; near is at most 20 %, which_algorithm's bound)."
    )
    answer: Answer = "cannot say"
    if len(found) < FEWEST_SEEDS:
        sentence += f" For one seed: {called[0]}."
    elif not any(near):
        answer = "unlike"
    elif all(near) and len(set(called)) == 1:
        answer, sentence = "like", f"It is {called[0]} in every seed. {sentence}"
    else:
        sentence += f" Seeds differ: {listed(list(dict.fromkeys(called)))}."
    return [Verdict(question, answer, sentence)]


def _last_layers(record: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Return the verdict of each seed's last layer; what has another shape is passed over."""
    seeds = record.get("seeds") if isinstance(record, Mapping) else None
    found = []
    for seed in seeds if isinstance(seeds, Sequence) else []:
        verdicts = seed.get("verdicts") if isinstance(seed, Mapping) else None
        if isinstance(verdicts, list) and verdicts and isinstance(verdicts[-1], Mapping):
            found.append(verdicts[-1])
    return found


def _share(verdict: Mapping[str, Any]) -> float:
    distance, norm = verdict.get("distance"), verdict.get("sensitivity_norm")
    if not isinstance(distance, int | float) or not isinstance(norm, int | float) or not norm:
        return math.nan
    return distance / norm


def _question(setting: Setting, text: str) -> str:
    return f"{setting.label}: {text}" if setting.label else text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

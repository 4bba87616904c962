"""Whether a claim is reproduced: its quantity's 95 % interval held against its bounds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from iclgd.report.comparisons import Estimate
from iclgd.reproduce.paper import Claim, Plan
from iclgd.reproduce.quantities import NoQuantity, Quantity, measured
from iclgd.review.gather import ReviewedRun
from iclgd.review.texts import counted, listed
from iclgd.review.verdict import estimate_text
from iclgd.sweeps.progress.settings import Row

Answer = Literal["reproduced", "not reproduced", "cannot say"]
FEWEST = 2  # seeds or draws: of one nothing is known of another


@dataclass(frozen=True)
class Evidence:
    """What became of a sweep.

    Attributes:
        rows: its trials.
        runs: those that they have made.
        problem: why there are none, if there are none.
    """

    rows: Sequence[Row] = ()
    runs: Sequence[ReviewedRun] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The answer to a claim.

    Attributes:
        claim: which.
        answer: of the three.
        why: what decides, or why nothing does.
        quantity: what was measured; ``None`` if nothing was.
    """

    claim: Claim
    answer: Answer
    why: str
    quantity: Quantity | None = field(default=None)

    @property
    def sentence(self) -> str:
        """Return the quantity, its interval, the bounds and what is printed, as one text."""
        if self.quantity is None:
            return f"{self.why}. Bound: {self.claim.quantity} {self.claim.bounds_text}.{self._printed}"
        over = counted(self.quantity.number, self.quantity.what)
        parts = f" The mean of {listed(self.quantity.parts, 12)}." if self.quantity.parts else ""
        found = f"{self.claim.quantity}: {estimate_text(self.quantity.estimate)} over {over}"
        return f"{found}; bound: {self.claim.bounds_text}; {self.why}.{parts}{self._printed}"

    @property
    def _printed(self) -> str:
        if self.claim.printed is None:
            return ""
        return f" Printed: {self.claim.printed}{f' ({self.claim.source})' if self.claim.source else ''}."

    def as_json(self) -> dict[str, Any]:
        """Return everything that decides as plain values; what is no finite number is ``None``."""
        value, low, high = self.quantity.estimate if self.quantity is not None else Estimate(math.nan)
        return {
            "claim": self.claim.name,
            "says": self.claim.says,
            "verdict": self.answer,
            "why": self.why,
            "quantity": self.claim.quantity,
            "value": _finite(value),
            "low": _finite(low),
            "high": _finite(high),
            "repetitions": self.quantity.number if self.quantity is not None else 0,
            "bounds": self.claim.bounds,
            "printed": self.claim.printed,
            "source": self.claim.source,
            "runs": list(self.quantity.runs) if self.quantity is not None else [],
        }


def judge(claim: Claim, plan: Plan, evidence: Evidence | None) -> Verdict:
    """Return the verdict of a claim.

    Args:
        claim: which.
        plan: what was to run.
        evidence: what became of the claim's sweep; ``None`` if the plan has none such.
    """
    if plan.quick and claim.not_quick is not None:
        return Verdict(claim, "cannot say", f"the quick plan cannot show it: {claim.not_quick}")
    if evidence is None:
        return Verdict(claim, "cannot say", f"the plan {plan.name} has no runs of it")
    if evidence.problem is not None:
        return Verdict(claim, "cannot say", f"its runs were not made: {evidence.problem}")
    try:
        quantity = measured(claim, evidence.rows, evidence.runs)
    except NoQuantity as reason:
        return Verdict(claim, "cannot say", str(reason))
    return Verdict(claim, *decided(claim, quantity), quantity)


def decided(claim: Claim, quantity: Quantity) -> tuple[Answer, str]:
    """Return the answer and what decides it.

    Reproduced is a claim if the whole interval is within its bounds, not reproduced if all of it is beyond one.
    """
    estimate = quantity.estimate
    if not math.isfinite(estimate.value):
        return "cannot say", "it is not a finite number in every run"
    if quantity.number < FEWEST:
        return "cannot say", f"one {quantity.what} tells nothing of another"
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return "cannot say", "there is no interval"
    if all(_is_within(claim, end) for end in estimate):
        return "reproduced", "its interval is within"
    if _is_beyond(claim, estimate):
        return "not reproduced", "its interval is beyond"
    return "cannot say", "its interval reaches over the bound"


def _is_within(claim: Claim, value: float) -> bool:
    return (
        (claim.above is None or value > claim.above)
        and (claim.below is None or value < claim.below)
        and (claim.at_least is None or value >= claim.at_least)
        and (claim.at_most is None or value <= claim.at_most)
    )


def _is_beyond(claim: Claim, estimate: Estimate) -> bool:
    """Say whether no value of the interval keeps one and the same bound."""
    return (
        (claim.above is not None and estimate.high <= claim.above)
        or (claim.below is not None and estimate.low >= claim.below)
        or (claim.at_least is not None and estimate.high < claim.at_least)
        or (claim.at_most is not None and estimate.low > claim.at_most)
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

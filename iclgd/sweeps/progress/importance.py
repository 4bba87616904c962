"""Which of a sweep's keys decides how good its trials are: PED-ANOVA, as Optuna has it."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from iclgd.report.settings import SEEDS
from iclgd.sweeps.file.parameter import to_text
from iclgd.sweeps.progress.settings import Row, is_finite

FEWEST_TRIALS = 10
BEST_SHARE, FEWEST_BEST = 0.1, 5  # of the trials that are told from the others: a tenth, but at least five
MOST_CHOICES = 10  # values of a key that are told apart one by one; of more numbers, where they are dense
DECADES = 30.0  # numbers that span more are compared by their logarithms


def importance(rows: Iterable[Row], goal: str = "minimize", over: Sequence[str] = SEEDS) -> dict[str, float] | None:
    """Return the share of each key in what tells the best trials from all, by PED-ANOVA (Watanabe et al. 2023).

    It compares how a key's values are distributed in the best tenth of the trials (at least five) and in all of them.
    Optuna's other evaluators need scikit-learn; this one needs nothing. Seeds are no keys: what they do is noise, and
    each of them a trial more. It says nothing of the sign, nor of keys that matter only together.

    Args:
        rows: trials; those without a finite metric are left out.
        goal: ``"minimize"`` or ``"maximize"``.
        over: keys that are seeds.

    Returns:
        Keys with several values and their shares, the largest first, which sum to 1; ``None`` if less than ten trials
        have a finite metric, if all have the same, or if no key has several values.
    """
    done = [row for row in rows if is_finite(row)]
    keys = {key: [row.values[key] for row in done if key in row.values] for key in (done[0].values if done else ())}
    distributions = {
        key: _distribution(values) for key, values in keys.items() if key not in over and len(values) == len(done)
    }
    distributions = {key: found for key, found in distributions.items() if not found.single()}
    if len(done) < FEWEST_TRIALS or not distributions or len({row.metric for row in done}) == 1:
        return None
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # imports scikit-learn: 2 s

    study = optuna.create_study(direction="maximize" if goal == "maximize" else "minimize")
    for row in done:
        values = {key: _drawn(row.values[key], each) for key, each in distributions.items()}
        study.add_trial(create_trial(value=row.metric, params=values, distributions=distributions))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(BEST_SHARE, FEWEST_BEST / len(done)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ties, by which more than these trials are the best
        return dict(get_param_importances(study, evaluator=evaluator))


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    """Return a key's values as Optuna's distribution: of numbers if there are many, else of choices."""
    choices = list(dict.fromkeys(map(to_text, values)))
    if len(choices) <= MOST_CHOICES or not all(isinstance(each, int | float) for each in values):
        return CategoricalDistribution(choices)
    low, high = float(min(values)), float(max(values))
    return FloatDistribution(low, high, log=low > 0 and high > DECADES * low)


def _drawn(value: Any, distribution: BaseDistribution) -> Any:
    return to_text(value) if isinstance(distribution, CategoricalDistribution) else float(value)

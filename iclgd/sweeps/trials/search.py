"""The search algorithms, all of them Optuna's: how points are drawn or suggested, and which trials end early."""

import zlib
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from iclgd.sweeps.file.schema import Hyperband, SweepFile


def draw(sweep: SweepFile, count: int, seed: int) -> list[dict[str, Any]]:
    """Draw the points of a random search, by Optuna's random sampler."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    distributions = {parameter.key: parameter.distribution for parameter in sweep.parameters}
    return [dict(study.ask(distributions).params) for _ in range(count)]


def bayes_sampler(seed: int, point: int) -> optuna.samplers.BaseSampler:
    """Return a tree-structured Parzen estimator.

    W&B fits a Gaussian process; Optuna's needs SciPy, and one fit takes longer than many a trial of ours.

    Args:
        seed: of the sweep.
        point: for which it suggests; what is drawn does not depend on which worker asks.
    """
    # Trials in progress count as bad ones: workers that ask at the same time get different points.
    return optuna.samplers.TPESampler(seed=zlib.crc32(f"{seed}/{point}".encode()), constant_liar=True)


def suggest(trial: Trial, key: str, distribution: BaseDistribution) -> Any:
    """Return a raw value of a parameter, as the trial's sampler chooses it."""
    match distribution:
        case FloatDistribution():
            low, high = distribution.low, distribution.high
            return trial.suggest_float(key, low, high, step=distribution.step, log=distribution.log)
        case IntDistribution():
            low, high = distribution.low, distribution.high
            return trial.suggest_int(key, low, high, step=distribution.step, log=distribution.log)
        case CategoricalDistribution():
            return trial.suggest_categorical(key, distribution.choices)
    raise AssertionError(distribution)


def pruner(early: Hyperband | None) -> optuna.pruners.BasePruner:
    """Return what W&B calls hyperband: at each of several numbers of evaluations all but the best 1/eta end.

    That is a single bracket of Hyperband, which Optuna calls successive halving; its ``HyperbandPruner`` would spare
    most trials until later.
    """
    if early is None:
        return optuna.pruners.NopPruner()
    if early.min_iter is not None:
        first = early.min_iter
    else:
        assert early.max_iter is not None
        assert early.s is not None
        first = max(1, round(early.max_iter / early.eta**early.s))
    return optuna.pruners.SuccessiveHalvingPruner(
        min_resource=first, reduction_factor=round(early.eta), min_early_stopping_rate=0
    )

"""The plan of a sweep without a server: a waiting trial in Optuna's storage for each point."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from iclgd.sweeps.file.schema import SweepFile
from iclgd.sweeps.trials.folder import SweepOptions


@dataclass(frozen=True)
class Done:
    """A trial that is done before the sweep begins."""

    value: float | None  # of the metric; ``None`` for sweeps without one
    began: datetime
    ended: datetime


def plan(
    storage: BaseStorage,
    sweep: SweepFile,
    options: SweepOptions,
    points: Iterable[Mapping[str, Any]],
    done: Mapping[int, Done] | None = None,
) -> None:
    """Make the study with a waiting trial for each point.

    Args:
        storage: a new one, or a database.
        sweep: its metric and parameters.
        options: its id and seed.
        points: raw values; without any for a Bayesian search, which chooses them when trials start.
        done: those that are not to be run.
    """
    maximize = sweep.metric is not None and sweep.metric.goal == "maximize"
    study = optuna.create_study(
        storage=storage, study_name=options.sweep_id, direction="maximize" if maximize else "minimize"
    )
    num_points = 0
    for raws in points:
        # Not as Optuna's parameters, which would repeat all choices of each in every entry of the journal.
        attrs = {"point": num_points} | ({"raws": dict(raws)} if raws else {})
        if (end := (done or {}).get(num_points)) is None:
            study.add_trial(create_trial(state=TrialState.WAITING, user_attrs=attrs))
        else:
            study.add_trial(_ended(end, sweep, raws, attrs, maximize))
        num_points += 1
    study.set_user_attr("options", {**asdict(options), "sweep_file": None})  # should options.json be damaged
    study.set_user_attr("num_points", num_points)


def told(value: float | None, maximize: bool) -> float:
    """Return the value that a storage gets, which takes no NaN; what is not finite is the worst."""
    worst = -math.inf if maximize else math.inf
    return 0.0 if value is None else value if math.isfinite(value) else worst


def _ended(done: Done, sweep: SweepFile, raws: Mapping[str, Any], attrs: dict[str, Any], maximize: bool) -> FrozenTrial:
    chosen = dict(raws) if sweep.method == "bayes" else {}  # by the search, which learns from Optuna's parameters
    distributions = {each.key: each.distribution for each in sweep.parameters if each.key in chosen}
    trial = create_trial(
        state=TrialState.COMPLETE,
        value=told(done.value, maximize),
        params=chosen,
        distributions=distributions,
        user_attrs=attrs,
    )
    trial.datetime_start, trial.datetime_complete = done.began, done.ended
    return trial

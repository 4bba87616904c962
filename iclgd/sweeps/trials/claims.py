"""The sweep without a server: its trials in Optuna's storage, handed to workers that may die at any moment.

Optuna 5 brings the search algorithms, the journal and an atomic step from WAITING to RUNNING. It lacks, for a journal,
heartbeats, and its ``GridSampler`` can hand one point to two workers. So every method is a plan made at the start: one
WAITING trial for each point. A worker takes one by the atomic step. When it dies, whoever notices sets the trial to
FAIL and adds a WAITING copy of it. Should one die in between, the next to look adds the copy; should two add one at
once, only the first copy of a trial counts: storages number trials in an order that all workers see alike.
"""

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from iclgd.sweeps.file.schema import SweepFile
from iclgd.sweeps.trials import search
from iclgd.sweeps.trials.folder import SweepOptions
from iclgd.sweeps.trials.plan import told
from iclgd.vendors.optuna import id_of, trial_in_progress

MAX_WORKER_DEATHS = 20  # of one point's workers: the machine is at fault, but a trial can bring a machine down
SECONDS_WITHOUT_OWNER = 120.0  # between taking a trial and signing for it: a thousand workers queue for the journal

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Claim:
    """A trial that a worker has taken."""

    trial_id: int
    point: int
    raws: Mapping[str, Any]  # of the parameters, as Optuna has them
    kills: int  # how often the point's process was killed, not by us
    worker_deaths: int


class OfflineSweep:
    """The trials of a sweep, as one process sees and changes them.

    Args:
        storage: where they are.
        sweep: what is searched.
        options: of the sweep.

    Raises:
        KeyError: if the storage has no such sweep, or only a part of one.
    """

    def __init__(self, storage: BaseStorage, sweep: SweepFile, options: SweepOptions) -> None:
        self.storage = storage
        self.sweep = sweep
        self.options = options
        self._study_id = storage.get_study_id_from_name(options.sweep_id)
        self.num_points = int(storage.get_study_user_attrs(self._study_id)["num_points"])
        self._ownerless: dict[int, float] = {}  # running trials that nobody has signed for, and since when

    def claim(self, worker: str, position: int = 0) -> Claim | None:
        """Take a waiting trial, if there is one; those that were begun before come first.

        Args:
            worker: who takes it.
            position: which of the waiting trials to try first; workers that try different ones do not collide.
        """
        while waiting := sorted(self._trials(TrialState.WAITING), key=lambda trial: "copy_of" not in trial.user_attrs):
            trial = waiting[position % len(waiting)]
            try:
                if not self.storage.set_trial_state_values(id_of(trial), TrialState.RUNNING):
                    continue
                if self._counts(trial):
                    return self._sign(trial, worker)
                self._end(id_of(trial), "another copy came first", again=False)
            except optuna.exceptions.UpdateFinishedTrialError:  # others were quicker
                continue
        return None

    def _sign(self, trial: FrozenTrial, worker: str) -> Claim:
        self.storage.set_trial_user_attr(id_of(trial), "worker", worker)
        attrs = trial.user_attrs
        counts = attrs.get("kills", 0), attrs.get("worker_deaths", 0)
        return Claim(id_of(trial), attrs["point"], self._parameters(trial), *counts)

    def holds(self, claim: Claim) -> bool:
        """Say whether a trial is still in the hands of the one who took it; others may have taken that one for dead."""
        return self.storage.get_trial(claim.trial_id).state == TrialState.RUNNING

    def complete(self, claim: Claim, value: float | None) -> bool:
        """Tell the value of a trial that is done; return whether it counts.

        Args:
            claim: the trial.
            value: of the metric; ``None`` for sweeps without one. One that is not finite is worse than any, whatever
                its sign: a loss of minus infinity is an overflow, not a success.
        """
        maximize = self._study.direction == optuna.study.StudyDirection.MAXIMIZE
        return self._finish(claim.trial_id, TrialState.COMPLETE, told(value, maximize))

    def should_prune(self, claim: Claim, step: int, value: float) -> bool:
        """Report the metric after so many evaluations; return whether the trial is not among the best.

        Args:
            claim: the trial.
            step: number of the evaluation, from 1.
            value: of the metric.
        """
        trial = trial_in_progress(self._study, claim.trial_id)
        try:
            trial.report(value if math.isfinite(value) else math.nan, step)  # NaN: the pruner ends the trial
        except optuna.exceptions.UpdateFinishedTrialError:  # others took this worker for dead
            return False
        return trial.should_prune()

    def prune(self, claim: Claim) -> bool:
        """End a trial early; return whether that counts."""
        trial = self.storage.get_trial(claim.trial_id)
        last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
        return self._finish(claim.trial_id, TrialState.PRUNED, last)

    def fail(self, claim: Claim, reason: str) -> None:
        """End a trial for good: the same would happen again."""
        self._end(claim.trial_id, reason, again=False)

    def give_back(self, claim: Claim, reason: str, kills: int = 0) -> None:
        """Return a trial that others shall go on with.

        Args:
            claim: the trial.
            reason: why.
            kills: how often its process was killed, in all.
        """
        self._end(claim.trial_id, reason, again=True, kills=kills or claim.kills, worker_deaths=claim.worker_deaths)
        self._replace_lost()

    def announce_return(self, claim: Claim, reason: str) -> None:
        """Tell that a trial will be given back: should the worker be killed before, that is no fault of the trial's."""
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(claim.trial_id, "asked_to_stop", reason)

    def recover(self, is_alive: Callable[[str], bool], is_alone: bool = False) -> None:
        """Give back the trials of dead workers, and mend what a worker left that died while it did so.

        Args:
            is_alive: tells of a worker by name.
            is_alone: whether no worker is alive: nobody is then just signing for a trial.
        """
        for trial in self._trials(TrialState.RUNNING):
            worker = trial.user_attrs.get("worker")
            if worker is None:
                since = self._ownerless.setdefault(id_of(trial), time.monotonic())
                is_lost = is_alone or time.monotonic() - since > SECONDS_WITHOUT_OWNER
            else:
                is_lost = not is_alive(worker)
            if is_lost:
                asked = trial.user_attrs.get("asked_to_stop")
                deaths = trial.user_attrs.get("worker_deaths", 0) + (asked is None)
                again = deaths <= MAX_WORKER_DEATHS
                reason = asked or ("worker died" if again else f"its worker died {deaths} times")
                kills = trial.user_attrs.get("kills", 0)
                self._end(id_of(trial), reason, again=again, kills=kills, worker_deaths=deaths)
        self._replace_lost()

    def revive(self) -> int:
        """Let failed points run again, with fresh counts; return how many."""
        failed = [trial for trial in self.latest() if has_failed(trial)]
        for trial in failed:
            self._add_copy(trial, kills=0, worker_deaths=0)
        return len(failed)

    def latest(self) -> list[FrozenTrial]:
        """Return the latest trial of each point, in the order of points."""
        latest: dict[int, FrozenTrial] = {}
        copied = set()
        for trial in self._trials():
            original = trial.user_attrs.get("copy_of")
            if original is None or original not in copied:
                latest[trial.user_attrs["point"]] = trial
                copied.add(original)
        return [trial for _, trial in sorted(latest.items())]

    def is_finished(self) -> bool:
        """Say whether every point is done, pruned or has failed for good."""
        return all(
            trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or has_failed(trial) for trial in self.latest()
        )

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.storage.get_all_trials(self._study_id, deepcopy=False, states=states or None)

    def _counts(self, trial: FrozenTrial) -> bool:
        """Say whether a trial is an original, or the first copy of one."""
        original = trial.user_attrs.get("copy_of")
        if original is None:
            return True
        return not any(
            other.user_attrs.get("copy_of") == original and other.number < trial.number for other in self._trials()
        )

    def _parameters(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return a trial's raw values, those that were planned or else those that the search suggests now."""
        planned = raws_of(trial)
        missing = [parameter for parameter in self.sweep.parameters if parameter.key not in planned]
        if missing:
            # A study of its own: one that is kept would show its sampler for ever the trials of the first suggestion.
            study = self._load_study()
            study.sampler = search.bayes_sampler(self.options.seed, trial.user_attrs["point"])
            asked = trial_in_progress(study, id_of(trial))
            planned |= {each.key: search.suggest(asked, each.key, each.distribution) for each in missing}
        return planned

    def _replace_lost(self) -> None:
        """Add a copy of every trial that shall run again and has none."""
        for trial in self.latest():
            end = trial.user_attrs.get("end")
            if trial.state == TrialState.FAIL and end and end["again"]:
                self._add_copy(trial, end["kills"], end["worker_deaths"])

    def _add_copy(self, trial: FrozenTrial, kills: int, worker_deaths: int) -> None:
        attrs: dict[str, Any] = {name: value for name, value in trial.user_attrs.items() if name in ("point", "raws")}
        attrs |= {"copy_of": trial.number, "kills": kills, "worker_deaths": worker_deaths}
        self._study.add_trial(
            create_trial(
                state=TrialState.WAITING, params=trial.params, distributions=trial.distributions, user_attrs=attrs
            )
        )

    def _end(self, trial_id: int, reason: str, again: bool, kills: int = 0, worker_deaths: int = 0) -> None:
        """Set a trial to FAIL, unless somebody else has ended it."""
        end = {"reason": reason, "again": again, "kills": kills, "worker_deaths": worker_deaths}
        try:
            self.storage.set_trial_user_attr(trial_id, "end", end)
            self.storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except optuna.exceptions.UpdateFinishedTrialError:
            return

    def _finish(self, trial_id: int, state: TrialState, value: float | None) -> bool:
        try:
            return self.storage.set_trial_state_values(trial_id, state, None if value is None else [value])
        except optuna.exceptions.UpdateFinishedTrialError:
            return False

    @cached_property
    def _study(self) -> Study:
        return self._load_study()

    def _load_study(self) -> Study:
        pruner = search.pruner(self.sweep.early_termination)
        return optuna.load_study(study_name=self.options.sweep_id, storage=self.storage, pruner=pruner)


def has_failed(trial: FrozenTrial) -> bool:
    """Say whether a trial has ended for good without a result."""
    return trial.state == TrialState.FAIL and not (trial.user_attrs.get("end") or {}).get("again")


def raws_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's raw values, as far as they have been planned or chosen."""
    return {**trial.user_attrs.get("raws", {}), **trial.params}

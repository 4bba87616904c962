"""What we take from beneath Optuna's public surface (of 5.0).

Its storages are not meant for users either; whoever claims trials one by one has nothing else. What we rely on of them,
:class:`iclgd.sweeps.trials.claims.OfflineSweep` shows, and the canary tests.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial


def id_of(trial: FrozenTrial) -> int:
    """Return the id by which storages know a trial."""
    return trial._trial_id


def trial_in_progress(study: Study, trial_id: int) -> Trial:
    """Return a running trial that can ask for parameters and report values, as ``Study.ask`` makes it of a new one."""
    return Trial(study, trial_id)


def lock_of(journal: Path) -> Path:
    """Return the symbolic link by which Optuna locks a journal file."""
    return journal.with_name(f"{journal.name}.lock")


def study_attributes(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the attributes that a journal's entry gives a study.

    Raises:
        KeyError: if it gives it none.
    """
    return entry["user_attr"]  # type: ignore[no-any-return]

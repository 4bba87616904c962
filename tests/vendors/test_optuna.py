import json
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState, create_trial

from iclgd.vendors.optuna import id_of, lock_of, study_attributes, trial_in_progress


def test_optuna_is_beneath_its_surface_what_sweeps_are_built_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    storage = JournalStorage(JournalFileBackend(str(path)))
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    study = optuna.create_study(storage=storage, study_name="canary", pruner=pruner)
    study.set_user_attr("options", 1)
    for point in range(2):
        study.add_trial(create_trial(state=TrialState.WAITING, user_attrs={"point": point}))
    study_id = storage.get_study_id_from_name("canary")
    first, second = (id_of(trial) for trial in storage.get_all_trials(study_id, False, (TrialState.WAITING,)))

    assert storage.get_trial(second).user_attrs == {"point": 1}, "FrozenTrial._trial_id is no longer a storage's id"
    taken = [storage.set_trial_state_values(first, TrialState.RUNNING) for _ in range(2)]
    assert taken == [True, False], "set_trial_state_values no longer tells who was first to take a waiting trial"
    trial = trial_in_progress(study, first)
    trial.report(1.0, step=1)
    assert 0 <= trial.suggest_float("x", 0, 1) <= 1, "Trial(study, id) no longer suggests for a trial that runs"
    assert storage.get_trial(first).intermediate_values == {1: 1.0}, "Trial(study, id).report no longer writes"
    assert isinstance(trial.should_prune(), bool), "Trial(study, id).should_prune no longer asks the study's pruner"
    storage.set_trial_state_values(first, TrialState.COMPLETE, [1.0])
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):  # else a worker taken for dead ends a trial again
        storage.set_trial_state_values(first, TrialState.FAIL)

    lines = path.read_bytes().splitlines()
    attributes = [study_attributes(entry) for entry in map(json.loads, lines) if "user_attr" in entry]
    assert {"options": 1} in attributes, "the journal no longer has a study's attributes below user_attr"
    with path.open("wb") as file:
        file.writelines(json.dumps({**json.loads(line), "crc": "0"}).encode() + b"\n" for line in lines)
    again = optuna.load_study(study_name="canary", storage=JournalStorage(JournalFileBackend(str(path))))
    assert len(again.trials) == 2, "journals no longer overlook a further value in an entry, our checksum"
    lock = JournalFileSymlinkLock(str(path))
    assert lock.acquire()
    assert lock_of(path).is_symlink(), "the journal's lock is no longer a link beside it with .lock"
    lock.release()

"""Sweeps whose trials have ended, made without any that run."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.storage import open_sweep
from tests.sweeps.conftest import MakeSweep

RATES = """\
method: grid
metric: {name: loss/transformer, goal: GOAL}
command: [iclgd, run, configs/regression/debug.yaml, "${args_no_hyphens}"]
parameters:
  training.learning_rate: {values: [0.001, 0.003, 0.01, 0.03]}
  seed: {values: [0, 1, 2]}
"""
# Rates x seeds. The best single trial, 0.10, is of 0.03, whose mean is the worst; the best mean is that of 0.003.
LOSSES = [[0.50, 0.52, 0.54], [0.20, 0.22, 0.21], [0.25, 0.29, 0.26], [0.10, 0.90, 0.95]]
MakeRates = Callable[..., SweepFolder]


def add_run(folder: SweepFolder, run: str, config: Mapping[str, object], loss: float | None) -> Path:
    """Make a run directory; of one that is complete, with its summary."""
    path = folder.runs / "debug" / run
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(json.dumps(config))
    if loss is not None:
        (path / "summary.json").write_text(json.dumps({"loss/transformer": loss if math.isfinite(loss) else None}))
    return path


def end(folder: SweepFolder, losses: Mapping[int, float | str]) -> SweepFolder:
    """End a sweep's trials: by a number they are done, by a text they have failed; others wait."""
    _, trials = open_sweep(folder)
    taken = []
    while (claim := trials.claim("a")) is not None:
        taken.append(claim)
    for claim in taken:
        loss = losses.get(claim.point)
        if loss is None:
            trials.give_back(claim, "not now")
        elif isinstance(loss, str):
            trials.fail(claim, loss)
        else:
            values = {each.key: each.value(claim.raws[each.key]) for each in trials.sweep.parameters}
            add_run(folder, folder.run_id(claim.point), values, loss)
            trials.complete(claim, loss)
    return folder


@pytest.fixture
def make_rates(make_sweep: MakeSweep) -> MakeRates:
    """Make a sweep of 4 rates x 3 seeds, with the losses above or others by point; ``None`` waits."""

    def make(others: Mapping[int, float | str | None] | None = None, goal: str = "minimize") -> SweepFolder:
        losses = dict(enumerate(loss for of_rate in LOSSES for loss in of_rate)) | dict(others or {})
        given = {point: loss for point, loss in losses.items() if loss is not None}
        return end(make_sweep(RATES.replace("GOAL", goal)), given)

    return make

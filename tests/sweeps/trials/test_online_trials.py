import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from iclgd.sweeps.file import schema
from iclgd.sweeps.progress.reading import online_rows
from iclgd.sweeps.progress.settings import best_row
from iclgd.sweeps.trials.folder import SweepFolder, SweepOptions
from iclgd.sweeps.trials.online_trials import OnlineTrials

SWEEP = """\
method: grid
metric: {name: loss/transformer, goal: GOAL}
command: [iclgd, run, c.yaml, "${args_no_hyphens}"]
parameters:
  training.learning_rate: {values: [0.00001, 0.1]}
  task: {parameters: {name: {value: sine}}}
"""
CONFIG = "training:\n  learning_rate: 1.0e-05\n  batch_size: 8\ntask:\n  name: sine\ntags:\n- a\n"
AgentSays = Callable[..., None]


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    options = SweepOptions("x", "abc123", "wandb", str(tmp_path), wandb="entity/project/id")
    return SweepFolder.create(tmp_path / "D", SWEEP, options, lambda _: None)


def trials(folder: SweepFolder, goal: str = "minimize", further: str = "") -> OnlineTrials:
    file = folder.path / "other.yaml"
    file.write_text(SWEEP.replace("GOAL", goal) + further)
    return OnlineTrials(folder, schema.read(file))


def add_run(folder: SweepFolder, run: str, **summary: object) -> Path:
    path = folder.runs / "c" / run
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(CONFIG)
    if summary:
        (path / "summary.json").write_text(json.dumps(summary["loss"]))
    return path


def agent_says(folder: SweepFolder, *lines: str, agent: str = "one") -> None:
    with (folder.logs / f"agent-{agent}.log").open("a") as file:
        for line in lines:
            is_ours = line.startswith("> ")
            file.write(f"2026-01-31 12:00:00,123 - wandb.wandb_agent - INFO - {line[2:]}\n" if is_ours else f"{line}\n")


def loss(value: float | None) -> dict[str, object]:
    return {"loss": {"loss/transformer": value}}


def test_trials_by_what_has_become_of_them(folder: SweepFolder) -> None:
    done = add_run(folder, "done", **loss(0.5))
    running = add_run(folder, "running")
    for run in ("interrupted", "broken", "silent", "bad"):
        add_run(folder, run)
    agent_says(
        folder,
        *("wandb: Starting wandb agent", "> Agent starting run with config:", "\tseed: 0"),
        *("> About to run command: iclgd run c.yaml", "> Running runs: ['done']"),
        *("iclgd: a warning of this trial alone", "> Cleaning up finished run: done"),
        *("> About to run command: iclgd run c.yaml", "> Cleaning up finished run: silent"),
        *("> About to run command: iclgd run c.yaml", "iclgd: interrupted; continue with: iclgd resume x"),
        "> Cleaning up finished run: interrupted",
    )
    agent_says(
        folder,
        *("> About to run command: iclgd run c.yaml", "iclgd: it broke", "step 50/50", "> Running runs: ['broken']"),
        *("> Cleaning up finished run: broken", "> About to run command: iclgd run c.yaml", "> Stop: bad"),
        *("iclgd: interrupted; continue with: iclgd resume y", "> Cleaning up finished run: bad"),
        *("> About to run command: iclgd run c.yaml", "Traceback", "ValueError: too early", ""),
        "> Cleaning up finished run: nowhere",
        agent="two",
    )
    looked = trials(folder)
    looked.look()
    assert looked.values == {done: 0.5}
    assert looked.ended_early == {"bad"}
    assert looked.failed == {
        "broken": "it broke",
        "silent": "ended without a summary",
        "nowhere": "ValueError: too early",
    }
    assert looked.unfinished == {"interrupted": folder.runs / "c" / "interrupted", "running": running}
    assert looked.name("broken") == "broken (training.learning_rate=1e-05 task.name=sine)"
    assert looked.name("nowhere") == "nowhere"


def test_what_is_new_is_seen_and_lines_are_read_whole(folder: SweepFolder) -> None:
    path = add_run(folder, "first")
    looked = trials(folder)
    looked.look()
    assert list(looked.unfinished) == ["first"]
    with (folder.logs / "agent-one.log").open("a") as file:
        file.write("iclgd: it br")
        file.flush()
        looked.look()
        file.write("oke\n")
    agent_says(folder, "> Cleaning up finished run: first")
    looked.look()
    assert (looked.failed, looked.unfinished) == ({"first": "it broke"}, {})
    (path / "summary.json").write_text(json.dumps(loss(0.25)["loss"]))  # it has been resumed
    looked.look()
    assert (looked.failed, looked.values) == ({}, {path: 0.25})


@pytest.mark.parametrize(("goal", "best"), [("minimize", "low"), ("maximize", "high")])
def test_the_best_is_a_number(folder: SweepFolder, goal: str, best: str) -> None:
    looked = trials(folder, goal)
    assert best_row(online_rows(folder, looked.sweep, looked, has_workers=False), goal) is None
    for run, value in (("a", None), ("high", 2.0), ("low", 1.0), ("m", -math.inf), ("p", math.inf), ("z", None)):
        add_run(folder, run, **loss(value))
    looked.look()
    row = best_row(online_rows(folder, looked.sweep, looked, has_workers=False), goal)
    assert row is not None
    assert row.run_directory == folder.runs / "c" / best
    assert sum(map(math.isnan, looked.values.values())) == 2


def test_a_run_without_the_metric_has_failed(folder: SweepFolder) -> None:
    add_run(folder, "other", loss={"loss/gd": 1.0})
    looked = trials(folder)
    looked.look()
    assert looked.values == {}
    assert looked.failed["other"].startswith("its summary has no 'loss/transformer'")
    assert looked.unfinished == {}


def test_settings_may_be_groups_and_null(folder: SweepFolder) -> None:
    run = add_run(folder, "first")
    looked = trials(folder, further="  tags: {values: [[a], [b]]}\n  training.steps: {value: null}\n")
    assert looked.setting(run) == "training.learning_rate=1e-05 task.name=sine tags=[a] training.steps=null"


def test_a_trial_that_went_on_in_vain_says_why(folder: SweepFolder) -> None:
    looked = trials(folder)
    assert looked.why_unfinished("first") == "interrupted"
    looked.trial_log("first").write_text("step 1\niclgd: the checkpoint cannot be read\nstep 2\n")
    assert looked.why_unfinished("first") == "the checkpoint cannot be read"

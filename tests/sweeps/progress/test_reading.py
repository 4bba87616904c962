"""A sweep's folder as plain data, whoever chose its trials, and however damaged it is."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.progress.reading import read_sweep
from iclgd.sweeps.trials.folder import SweepFolder, SweepOptions
from tests.conftest import ROOT
from tests.processes import NOT_FOR_READING, modules_after
from tests.sweeps.conftest import MakeSweep
from tests.sweeps.progress.conftest import LOSSES, RATES, MakeRates, add_run

RANDOM = """\
method: random
metric: {name: loss/transformer}
command: [iclgd, run, configs/regression/debug.yaml, "${args_no_hyphens}"]
parameters:
  training.learning_rate: {min: 0.01, max: 0.09}
  model.num_layers: {value: 2}
"""


def test_trials_and_settings(make_rates: MakeRates) -> None:
    folder = make_rates({4: "it broke", 5: None, 6: math.nan, 7: -math.inf})
    results = read_sweep(folder.path)
    assert (results.name, results.metric, results.goal) == ("quick", "loss/transformer", "minimize")
    assert results.config == "configs/regression/debug.yaml"
    assert (results.keys, results.seed_keys) == (("training.learning_rate",), ("seed",))
    states = ["done"] * 4 + ["failed", "waiting"] + ["done"] * 6
    assert [row.state for row in results.rows] == states
    first, failed, waiting, bad = (results.rows[index] for index in (0, 4, 5, 7))
    assert first.values == {"training.learning_rate": 0.001, "seed": 0}
    assert (first.number, first.metric, first.failure) == (0, LOSSES[0][0], None)
    assert first.run_directory == folder.runs / "debug" / folder.run_id(0)
    assert (failed.failure, failed.metric, failed.run_directory) == ("it broke", None, None)
    assert (waiting.metric, waiting.run_directory) == (None, None)
    assert bad.metric is not None
    assert math.isnan(bad.metric)
    rates = [setting.values["training.learning_rate"] for setting in results.settings]
    assert rates == [0.001, 0.003, 0.01, 0.03]
    assert [(setting.done, setting.planned) for setting in results.settings] == [(3, 3), (1, 3), (3, 3), (3, 3)]
    assert [setting.is_finite for setting in results.settings] == [True, True, False, True]


def test_sweeps_are_read_without_torch(make_rates: MakeRates) -> None:
    folder = str(make_rates().path)
    loaded = modules_after(["sweep", "status", folder, "--once"], ["sweep", "best", folder])
    assert "optuna" in loaded
    assert not loaded & NOT_FOR_READING


def test_the_command_starts_the_same_sweep_again(make_sweep: MakeSweep, tmp_path: Path) -> None:
    changed = make_sweep(RATES.replace("GOAL", "minimize"), overrides=("tracking.tags=[a b]",))
    own = f"iclgd sweep {changed.sweep_file} 'tracking.tags=[a b]'"
    assert read_sweep(changed.path).command == own
    text = (ROOT / "sweeps" / "smoke.yaml").read_text()
    options = SweepOptions("smoke", "abc123", "wandb", str(ROOT), seed=3, num_trials=2, wandb="a/b/c")
    shipped = SweepFolder.create(tmp_path / "shipped", text, options, lambda _: None)
    (shipped.path / "imports.json").write_text(json.dumps({"imports": [{"path": "/x/own.py", "sha256": "0"}]}))
    assert read_sweep(shipped.path).command == "iclgd sweep smoke --count 2 --seed 3 --import /x/own.py"


def test_a_search_has_the_settings_that_it_has_drawn(make_sweep: MakeSweep) -> None:
    results = read_sweep(make_sweep(RANDOM, count=3).path)
    assert results.keys == ("training.learning_rate",)
    assert len(results.settings) == 3
    assert not results.has_repetitions
    assert results.text(results.settings[0]).startswith("training.learning_rate=0.0")
    later = read_sweep(make_sweep(RANDOM.replace("random", "bayes"), count=3, path=results.folder / "b").path)
    assert ([row.values for row in later.rows], later.settings) == ([{}] * 3, ())


def make_online(path: Path, goal: str = "minimize") -> SweepFolder:
    options = SweepOptions("x", "abc123", "wandb", str(ROOT), wandb="entity/project/id", num_trials=12)
    return SweepFolder.create(path, RATES.replace("GOAL", goal), options, lambda _: None)


def test_trials_that_wandb_has_given_out_are_grouped_too(tmp_path: Path) -> None:
    folder = make_online(tmp_path / "D")
    for seed in range(3):
        for rate, loss in ((0.001, 0.5), (0.003, 0.1 + seed)):
            is_done = (rate, seed) != (0.003, 2)
            config = {"training": {"learning_rate": rate, "batch_size": 8}, "seed": seed}
            add_run(folder, f"run{seed}-{rate}", config, loss if is_done else None)
    results = read_sweep(folder.path)
    found = {each.values["training.learning_rate"]: each for each in results.settings}
    assert {rate: (each.done, each.planned) for rate, each in found.items()} == {
        0.001: (3, 3),
        0.003: (2, 3),
        0.01: (0, 3),
        0.03: (0, 3),
    }
    spread = found[0.003].spread
    assert spread is not None
    assert spread.mean == pytest.approx(0.6)
    states = {row.run_directory.name: row.state for row in results.rows if row.run_directory}
    assert states["run2-0.003"] == "interrupted"  # nobody works on it
    assert sum(row.state == "waiting" for row in results.rows) == 6
    assert len(results.rows) == 12


@pytest.mark.parametrize("text", ["{", "[1]", "a: &x [*x]", "\0", ""])
def test_a_run_of_wandbs_that_is_damaged_costs_itself(tmp_path: Path, text: str) -> None:
    folder = make_online(tmp_path / "D")
    add_run(folder, "good", {"training": {"learning_rate": 0.01}, "seed": 0}, 0.5)
    bad = add_run(folder, "bad", {}, 0.1)
    (bad / "config.yaml").write_text(text)
    broken = add_run(folder, "broken", {"training": {"learning_rate": 0.03}, "seed": 0}, 0.2)
    (broken / "summary.json").write_text('{"loss/tr')
    results = read_sweep(folder.path)
    rows = {row.run_directory.name: row for row in results.rows if row.run_directory}
    assert rows["good"].metric == 0.5
    assert (rows["broken"].state, rows["broken"].metric) == ("failed", None)
    best = [setting for setting in results.settings if setting.spread is not None]
    assert rows["bad"].state == "failed"
    assert str(bad / "config.yaml") in (rows["bad"].failure or "")
    assert [setting.values["training.learning_rate"] for setting in best] == [0.01]


def remove(folder: SweepFolder) -> None:
    shutil.rmtree(folder.path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, "not a sweep's folder (it has no options.json)"),
        (lambda folder: (folder.path / "options.json").write_text("{"), "options.json: cannot be read"),
        (lambda folder: folder.journal.write_text("x\n"), "its trials are not in"),
        (lambda folder: folder.journal.write_text('{"op_code": 99}\n'), "damaged; not even its whole lines"),
        (lambda folder: folder.sweep_file.write_text("method: [") and sweepless(folder), "not valid YAML"),
    ],
)
def test_a_damaged_folder_is_one_error(
    make_sweep: MakeSweep, damage: Callable[[SweepFolder], object], message: str
) -> None:
    folder = make_sweep(RATES.replace("GOAL", "minimize"))
    if "options.json: cannot" in message:
        folder.journal.unlink()
    damage(folder)
    with pytest.raises(SweepError) as error:
        read_sweep(folder.path)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def sweepless(folder: SweepFolder) -> None:
    """Make the options those of an older version, which had no copy of the sweep file."""
    options = json.loads((folder.path / "options.json").read_text())
    del options["sweep_file"], options["checksum"]
    (folder.path / "options.json").write_text(json.dumps(options))


def test_entries_of_another_shape_are_one_error(make_sweep: MakeSweep) -> None:
    folder = make_sweep(RATES.replace("GOAL", "minimize"))
    lines = [json.loads(line) for line in folder.journal.read_text().splitlines()]
    for line in lines:
        line.pop("crc", None)
        if "user_attrs" in line:
            line["user_attrs"]["raws"] = {"seed": "7", "training.learning_rate": "0.5"}
    folder.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(SweepError, match="the sweep cannot be read"):
        read_sweep(folder.path)


def test_keys_that_the_sweep_lacks_are_refused(make_sweep: MakeSweep) -> None:
    folder = make_sweep(RATES.replace("GOAL", "minimize"))
    with pytest.raises(SweepError, match=r"--over sed: the sweep has no such key; it has: .*did you mean seed"):
        read_sweep(folder.path, ("sed",))
    assert read_sweep(folder.path, ("seed", "demonstrations.seed")).seed_keys == ("seed",)
    by_seed = read_sweep(folder.path, ("training.learning_rate",))
    assert (by_seed.keys, len(by_seed.settings)) == (("seed",), 3)
    together = read_sweep(folder.path, ("seed", "training.learning_rate"))
    assert [together.text(setting) for setting in together.settings] == ["all trials"]

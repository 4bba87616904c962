"""``iclgd sweep best``, ``status`` and ``report``: the setting whose mean is best, and how sure that is."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from iclgd.sweeps.progress.reading import read_sweep
from iclgd.sweeps.progress.tables import settings_table
from iclgd.sweeps.trials.folder import SweepFolder
from tests.conftest import ROOT
from tests.sweeps.conftest import MakeSweep, start_sweep
from tests.sweeps.progress.conftest import LOSSES, MakeRates, end

Cli = Callable[..., tuple[int, str, str]]


def comments(out: str) -> list[str]:
    return [line.removeprefix("# ") for line in out.splitlines() if line.startswith("# ")]


def numbers(line: str) -> list[float]:
    return [float(found) for found in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", line)]


def test_best_names_the_setting_with_the_best_mean(cli: Cli, make_rates: MakeRates) -> None:
    folder = make_rates()
    code, out, err = cli("sweep", "best", folder.path)
    assert (code, err) == (0, "")
    setting, found, runner_up, trial, shown, where = comments(out)
    assert setting == "best setting: training.learning_rate=0.003"
    losses = np.array(LOSSES[1])
    low, high = stats.t.interval(0.95, 2, losses.mean(), stats.sem(losses))
    mean, its_low, its_high, deviation = numbers(found.replace("95 %", "").partition("mean")[2])[:4]
    assert (mean, its_low, its_high, deviation) == pytest.approx((0.21, low, high, 0.01), abs=5e-4)
    assert found.endswith("3 of 3 seeds")
    assert runner_up.startswith("runner-up: training.learning_rate=0.01: 0.267 [")
    differences = losses - LOSSES[2]
    low, high = stats.t.interval(0.95, 2, differences.mean(), stats.sem(differences))
    assert f"[{low:.3f}, {high:.3f}]" in runner_up
    assert runner_up.startswith("runner-up: ")
    assert "the intervals overlap; paired over 3 seeds they differ by -0.0567 " in runner_up
    assert runner_up.endswith(": told apart")
    assert trial.startswith(
        "best single trial: 0.1 (training.learning_rate=0.03 seed=0); its config: iclgd sweep best "
    )
    assert shown == "this config is of trial 0003 (seed=0), the setting's first, not its best"
    assert where == str(folder.runs / "debug" / folder.run_id(3))
    assert yaml.safe_load(out) == {"training.learning_rate": 0.003, "seed": 0}


def test_the_best_single_trial_stays_available(cli: Cli, make_rates: MakeRates) -> None:
    folder = make_rates()
    code, out, _ = cli("sweep", "best", folder.path, "--trial")
    assert code == 0
    run = str(folder.runs / "debug" / folder.run_id(9))
    assert comments(out) == ["loss/transformer = 0.1 (training.learning_rate=0.03 seed=0)", run]
    assert yaml.safe_load(out) == {"training.learning_rate": 0.03, "seed": 0}


def test_what_cannot_be_the_best_is_said(cli: Cli, make_rates: MakeRates) -> None:
    folder = make_rates({3: math.nan, 7: "it broke", 6: 0.01})
    code, out, _ = cli("sweep", "best", folder.path)
    assert code == 0
    lines = comments(out)
    assert lines[0] == "best setting: training.learning_rate=0.001"
    assert "not compared: training.learning_rate=0.01: 2 of 3 seeds done, mean 0.1" in "\n".join(lines)
    assert "not compared: training.learning_rate=0.003: not finite in 1 of 3 seeds" in lines
    code, shown, _ = cli("sweep", "status", folder.path)
    assert "best setting │ 0.5200 [0.470, 0.570] over 3 of 3 seeds" in shown
    assert "best trial   │ 0.01  training.learning_rate=0.01 seed=0" in shown


def test_while_no_setting_is_complete_the_best_is_provisional(cli: Cli, make_rates: MakeRates) -> None:
    folder = make_rates(dict.fromkeys((2, 5, 8, 11)))
    _, out, _ = cli("sweep", "best", folder.path)
    lines = comments(out)
    assert lines[0] == "best setting: training.learning_rate=0.003"
    assert "provisional, as no setting is complete: of this one 2 of 3 seeds done" in lines
    code, shown, _ = cli("sweep", "status", folder.path)
    assert code == 0
    assert "provisional" in shown


def test_the_config_is_of_a_seed_whose_run_is_there(cli: Cli, make_rates: MakeRates) -> None:
    folder = make_rates()
    first = folder.run_directory(3)
    assert first is not None
    first.rename(folder.path / "elsewhere")
    _, out, _ = cli("sweep", "best", folder.path)
    assert yaml.safe_load(out)["seed"] == 1
    for point in (4, 5):
        path = folder.run_directory(point)
        assert path is not None
        path.rename(folder.path / f"elsewhere{point}")
    code, out, err = cli("sweep", "best", folder.path)
    assert (code, out) == (2, "")
    assert err.endswith("no setting has a finite loss/transformer, or the best one's run directory is gone\n")


def test_what_is_a_seed_may_be_said(cli: Cli, make_rates: MakeRates) -> None:
    folder = make_rates()
    _, out, _ = cli("sweep", "best", folder.path, "--over", "training.learning_rate")
    assert comments(out)[0] == "best setting: seed=0"
    assert comments(out)[1].endswith("4 of 4 seeds")
    code, _, err = cli("sweep", "status", folder.path, "--over", "seeed")
    assert (code, err.count("\n")) == (2, 1)
    assert "did you mean seed?" in err


def test_a_report_is_a_table_and_a_figure_for_each_key(cli: Cli, make_rates: MakeRates) -> None:
    folder = make_rates(goal="maximize")
    code, out, err = cli("sweep", "report", folder.path, "--format", "png,svg,pdf")
    assert (code, err) == (0, "")
    figures = [folder.path / "figures" / f"metric_by_training.learning_rate.{end}" for end in ("png", "svg", "pdf")]
    assert [Path(line) for line in out.splitlines()[-3:]] == figures
    heads = [figure.read_bytes()[:4] for figure in figures]
    assert heads == [b"\x89PNG", b"<?xm", b"%PDF"]
    assert "loss/transformer, maximized: mean over seeds" in out
    rates = [line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")]
    assert rates == ["0.03", "0.001", "0.01", "0.003"]
    assert max(map(len, out.splitlines()[:-3])) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "gif"], "--format must be a list of: png, svg, pdf; got 'gif'"),
        (["--over", "x"], "--over x: the sweep has no such key"),
        ([], "no trial is done yet"),
    ],
)
def test_a_report_that_cannot_be_made(cli: Cli, make_sweep: MakeSweep, arguments: list[str], message: str) -> None:
    folder = make_sweep("method: grid\n" + RATES_AS_THEY_ARE)
    code, out, err = cli("sweep", "report", folder.path, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert not (folder.path / "figures").exists()


RATES_AS_THEY_ARE = """\
metric: {name: loss/transformer}
command: [iclgd, run, configs/regression/debug.yaml, "${args_no_hyphens}"]
parameters: {seed: {values: [0, 1]}, model.num_layers: {values: [1, 2]}}
"""


def test_names_may_be_anything(cli: Cli, make_sweep: MakeSweep) -> None:
    names = ["<script>$x$</script>", "\u05d0\u05d1\u202e", "a\nb", "x" * 10_000, 'it\'s "quoted"']
    values = ", ".join(
        f"'{name}'" if name == names[1] else yaml.safe_dump(name, default_style='"', width=math.inf).strip()
        for name in names
    )
    text = f"method: grid\n{RATES_AS_THEY_ARE}".replace(
        "model.num_layers: {values: [1, 2]}", f"tracking.group: {{values: [{values}]}}"
    )
    folder = end(make_sweep(text), {point: float(point) for point in range(10)})
    code, out, _ = cli("sweep", "report", folder.path)
    assert code == 0
    assert "\u202e" not in out
    code, out, _ = cli("sweep", "best", folder.path)
    assert code == 0
    assert yaml.safe_load(out)["tracking.group"] == names[0]


def test_a_table_of_many_settings_is_cut(make_sweep: MakeSweep) -> None:
    text = f"method: grid\n{RATES_AS_THEY_ARE}".replace("[1, 2]", str(list(range(1, 31))))
    table = settings_table(read_sweep(end(make_sweep(text), {0: 1.0, 30: 3.0}).path))
    assert table.row_count == 20
    assert str(table.caption).startswith("and 10 more settings; intervals by Student's t; compared are settings whose")


@pytest.mark.slow
def test_real_runs_of_three_seeds_and_four_rates(cli: Cli, tmp_path: Path, quick_environment: dict[str, str]) -> None:
    file, folder = tmp_path / "rates.yaml", tmp_path / "D"
    file.write_text(REAL)
    environment = {key: value for key, value in quick_environment.items() if key != "QUICK_RECORD"}
    process = start_sweep((file, "--workers", 2, "--engine", "local", "--dir", folder), ROOT, environment)
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    results = read_sweep(folder)
    losses: dict[float, list[float]] = {}
    for path in SweepFolder(folder).runs.glob("*/*/"):
        rate = yaml.safe_load((path / "config.yaml").read_text())["training"]["learning_rate"]
        losses.setdefault(rate, []).append(yaml.safe_load((path / "summary.json").read_text())["loss/transformer"])
    assert sorted(map(len, losses.values())) == [3, 3, 3, 3]
    rate = min(losses, key=lambda each: np.mean(losses[each]))
    code, best, _ = cli("sweep", "best", folder)
    assert code == 0
    assert comments(best)[0] == f"best setting: training.learning_rate={rate}"
    expected = stats.t.interval(0.95, 2, np.mean(losses[rate]), stats.sem(losses[rate]))
    (setting,) = (each for each in results.settings if each.values["training.learning_rate"] == rate)
    assert setting.spread is not None
    assert (setting.spread.low, setting.spread.high) == pytest.approx(expected)
    assert "best mean " in out


REAL = """\
method: grid
metric: {name: loss/transformer}
command: [iclgd, run, debug, trainer.max_steps=60, tracking.mode=disabled, "${args_no_hyphens}"]
parameters:
  training.learning_rate: {values: [0.0003, 0.001, 0.003, 0.01]}
  seed: {values: [0, 1, 2]}
"""

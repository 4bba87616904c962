import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from iclgd.analysis.learners import LEARNERS
from iclgd.cli import main
from iclgd.config import load
from iclgd.experiments.regression import Config
from iclgd.reproduce.paper import read
from iclgd.reproduce.plan import Options, sweeps_to_run
from iclgd.shipped import find, names
from iclgd.sweeps.trials.folder import SweepFolder, SweepOptions
from tests.processes import ICLGD
from tests.reproduce.toy import PAPER, SWEEP, write_paper

LAYER = """\
experiment: regression
task: {num_context: 4, input_dim: 3}
training: {batch_size: 256, learning_rate: 0.01}
evaluation: {every_num_steps: 100, num_tasks: 2000}
trainer: {max_steps: 800, accelerator: cpu}
tracking: {mode: disabled}
"""
WRONG = """\
from dataclasses import replace
from iclgd.analysis.learners import LEARNERS
from iclgd.analysis.references import Reference
from iclgd.models import gradient_descent_transformer

right = LEARNERS["gd"].reference

def wrong(setting):
    rate = 3 * right(setting).chosen["gd/learning_rate"]
    return Reference(gradient_descent_transformer(setting.task.input_dim, 1, rate), {"gd/learning_rate": rate})

LEARNERS["gd"] = replace(LEARNERS["gd"], reference=wrong)
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


def test_an_unknown_paper_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "dai2032", "--quick"]) == 2
    assert lines(capsys.readouterr().err) == [
        "iclgd: dai2032: no paper of this name and no such file; did you mean dai2023?"
    ]


@pytest.mark.parametrize("paper", sorted(names("paper")))
def test_all_plans_of_the_papers_that_ship_can_be_run(paper: str, tmp_path: Path) -> None:
    found = read(names("paper")[paper])
    for plan in found.plans:
        overrides = (f"{plan.given}=embedded",) if plan.given else ()
        sweeps = sweeps_to_run(found, plan, tmp_path, Options(overrides))
        assert all(sweep.points for sweep in sweeps)
        swept = {f"{key}={value}" for sweep in sweeps for point in sweep.points for key, value in point.items()}
        known = {sweep.name for sweep in sweeps}
        for sweep in sweeps:  # seeds that two runs share are no repetitions
            if "seed" in sweep.points[0]:
                config = load(find("config", sweep.file.config), sweep.file.fixed)
                assert not isinstance(config, Config) or config.training.num_seeds == 1
        for claim in found.claims:
            if claim.sweep in known:
                assert {*claim.where, *claim.than} <= swept


def test_a_dry_run_lists_runs_and_times_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paper = write_paper(tmp_path)
    assert main(["reproduce", str(paper), "--dry-run", "--workers", "2", "trainer.max_steps=7"]) == 0
    shown = lines(capsys.readouterr().out)
    assert "    1.5 h      30 s  iclgd run one_layer seed=2 trainer.max_steps=7" in shown
    assert "    4.5 h     2 min  all 3, 1 at a time" in shown
    assert "    3.0 h     1 min  all 3, 2 at a time" in shown
    assert not (tmp_path / "runs").exists()
    assert main(["reproduce", str(paper), "--dry-run", "--quick"]) == 0
    assert "cannot show: Much." in lines(capsys.readouterr().out)


def test_a_key_that_no_run_has_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper = write_paper(tmp_path)
    for override, message in (
        ("model.num_layer=2", "unknown key model.num_layer; did you mean model.num_layers?"),
        ("seed=4", "the sweep gives seed its values"),
    ):
        assert main(["reproduce", str(paper), override]) == 2
        (line,) = lines(capsys.readouterr().err)
        assert message in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (SWEEP, (), "was begun with another"),  # of another config
        (SWEEP.replace("CONFIG", "one_layer"), ("trainer.max_steps=7",), "was begun with trainer.max_steps=7; choose"),
    ],
)
def test_a_folder_that_something_else_began_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, overrides: tuple[str, ...], message: str
) -> None:
    paper, folder = write_paper(tmp_path), tmp_path / "there"
    options = SweepOptions("runs", "abc", "local", str(tmp_path), overrides)
    SweepFolder.create(folder / "runs", text, options, lambda unfinished: None)
    assert main(["reproduce", str(paper), "--dir", str(folder)]) == 2
    assert message in lines(capsys.readouterr().err)[-1]


def answers(folder: Path) -> dict[str, str]:
    (figure,) = json.loads((folder / "verdicts.json").read_text())["figures"]
    return {claim["claim"]: claim["verdict"] for claim in figure["claims"]}


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """Return a paper of a layer that learns within seconds; two seeds would have intervals over every bound."""
    config = tmp_path / "layer.yaml"
    config.write_text(LAYER)
    paper = write_paper(tmp_path, PAPER, str(config))
    sweep = paper.parent / "quick" / "runs.yaml"
    sweep.write_text(sweep.read_text().replace("[0, 1, 2]", "[0, 1, 2, 3]"))
    return paper


@pytest.fixture
def own_gd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the shipped learner back that a file of own entries replaces in this process, too."""
    monkeypatch.setitem(LEARNERS, "gd", LEARNERS["gd"])


@pytest.mark.slow
def test_a_paper_is_reproduced_and_goes_on_after_a_kill(layer: Path, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    command = ["reproduce", str(layer), "--quick", "--dir", str(folder)]
    with subprocess.Popen([*ICLGD, *command], stderr=subprocess.PIPE, text=True, start_new_session=True) as started:
        assert started.stderr is not None
        assert any(line.startswith("1 of 4 trials done") for line in started.stderr)
        os.killpg(started.pid, signal.SIGKILL)
    (ready,) = folder.glob("runs/runs/*/*-0000/summary.json")
    before = ready.stat().st_mtime_ns
    assert main(command) == 0
    assert answers(folder) == {"same_loss": "reproduced", "alike": "reproduced"}
    assert ready.stat().st_mtime_ns == before
    assert len(list(folder.glob("runs/runs/*/*/summary.json"))) == 4


@pytest.mark.slow
def test_untrained_weights_are_not_reproduced(layer: Path, tmp_path: Path) -> None:
    assert main(["reproduce", str(layer), "--quick", "--dir", str(tmp_path / "there"), "trainer.max_steps=1"]) == 0
    assert answers(tmp_path / "there") == {"same_loss": "not reproduced", "alike": "not reproduced"}


@pytest.mark.slow
@pytest.mark.usefixtures("own_gd")
def test_a_wrong_learning_rate_is_not_reproduced(layer: Path, tmp_path: Path) -> None:
    own = tmp_path / "wrong.py"
    own.write_text(WRONG)
    assert main(["reproduce", str(layer), "--quick", "--dir", str(tmp_path / "there"), "--import", str(own)]) == 0
    # Three times the step predicts in the same direction, and so has the same cosine, but not the same loss.
    assert answers(tmp_path / "there") == {"same_loss": "not reproduced", "alike": "reproduced"}


@pytest.mark.slow
@pytest.mark.usefixtures("own_gd")
def test_runs_that_fail_end_with_1_and_leave_claims_open(
    layer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "fails.py"
    own.write_text(WRONG.replace("    rate =", "    raise RuntimeError('broken on purpose')\n    rate ="))
    assert main(["reproduce", str(layer), "--quick", "--dir", str(tmp_path / "there"), "--import", str(own)]) == 1
    assert answers(tmp_path / "there") == {"same_loss": "cannot say", "alike": "cannot say"}
    shown = capsys.readouterr()
    assert "not all runs are done" in shown.err
    assert "cannot say same_loss: 4 of its 4 runs are not done (failed: " in shown.out


@pytest.mark.slow
def test_labels_that_are_shuffled_teach_nothing(tmp_path: Path) -> None:
    claims = """\
    claims:
      - {name: true_labels, says: A, sweep: runs, value: accuracy/in_context, minus: accuracy/zero_shot, above: 0.1}
      - name: shuffled
        says: B
        sweep: runs
        value: shuffled_labels/accuracy/in_context
        minus: accuracy/zero_shot
        above: 0.1
"""
    fixed = "embedded, tracking.mode=disabled, task.num_queries=64, demonstrations.num_draws=10"
    controls = '"evaluation.controls=[shuffled_labels]", evaluation.other_task=null'
    paper = write_paper(tmp_path, PAPER.partition("    claims:")[0] + claims, f"{fixed}, {controls}")
    sweep = paper.parent / "quick" / "runs.yaml"
    sweep.write_text(sweep.read_text().replace("seed: {values: [0, 1, 2]}", "demonstrations.num: {value: 32}"))
    assert main(["reproduce", str(paper), "--quick", "--dir", str(tmp_path / "there")]) == 0
    assert answers(tmp_path / "there") == {"true_labels": "reproduced", "shuffled": "not reproduced"}

"""``iclgd analyze`` and ``iclgd figures``: the same door through which a run goes after training."""

import json
import shutil
from pathlib import Path

import pytest

from iclgd.tracking.run_directory import RunDirectory
from tests.runs.test_run import OLD
from tests.test_experiment import Cli, run_directory

ANALYSES = "analysis={run: [iterated, which_algorithm], num_tasks: 40, num_resamples: 5, num_applications: 3}"
SHORT = ["trainer.max_steps=4", "evaluation.every_num_steps=2"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return shutil.copytree(OLD["debug"], tmp_path / "runs" / "debug" / "run")


def test_an_analysis_made_later_is_the_one_made_after_training(cli: Cli, small_config: Path) -> None:
    options = [*SHORT, "training.num_seeds=2"]
    whole = run_directory(cli("run", small_config, *options, ANALYSES)[1])
    later = run_directory(cli("run", small_config, *options)[1])
    assert later.read_analyses() == {}
    values = ["analysis.num_tasks=40", "analysis.num_resamples=5", "analysis.num_applications=3"]
    code, out, err = cli("analyze", later.path, "which_algorithm", values[0], "iterated", *values[1:])
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == str(later.path)
    assert later.read_analyses() == whole.read_analyses()
    assert later.read_analyses()["iterated"]["made_with"]["num_tasks"] == 40
    assert {"iterated.png", "which_algorithm.png"} < {path.name for path in later.figures.iterdir()}
    for name in ("iterated", "which_algorithm"):
        assert (later.figures / f"{name}.png").read_bytes() == (whole.figures / f"{name}.png").read_bytes()
    made = (whole.path / "analysis" / "iterated.json").read_bytes()
    (whole.path / "analysis" / "iterated.json").unlink()
    assert cli("resume", whole.path)[0] == 0
    assert (whole.path / "analysis" / "iterated.json").read_bytes() == made


def test_an_older_run_is_looked_at_again(cli: Cli, old: Path) -> None:
    before = RunDirectory(old).read_analyses()["which_algorithm"]
    assert "made_with" not in before
    code, out, err = cli("analyze", old, "which_algorithm")
    assert (code, err) == (0, "")
    after = RunDirectory(old).read_analyses()["which_algorithm"]
    rows, old_rows = (record["seeds"][0]["rows"] for record in (after, before))
    assert [row["learner"] for row in rows] == [row["learner"] for row in old_rows]
    for row, old_row in zip(rows, old_rows, strict=True):
        assert row["sensitivity_l2"] == pytest.approx(old_row["sensitivity_l2"], rel=1e-5)
    assert after["made_with"]["num_tasks"] == 100  # as the run's config has it
    assert "which algorithm is it?" in out
    assert (old / "config.yaml").read_bytes() == (OLD["debug"] / "config.yaml").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["which_algoritm"], "unknown analysis 'which_algoritm'; known: out_of_distribution, "),
        (["iterated", "trainer.max_steps=3"], "trainer.max_steps=3: an analysis can change keys of analysis alone"),
        (["iterated", "analysis.run=[iterated]"], "analysis.run: name the analyses themselves"),
        (["iterated", "analysis.num_tasks=1"], "analysis.num_tasks must be at least 2, got 1"),
        (["functions"], "functions needs task.name=sine"),
        (["analysis.num_tasks=3"], "name at least one analysis"),
    ],
)
def test_what_cannot_be_looked_at_is_one_line(cli: Cli, old: Path, arguments: list[str], said: str) -> None:
    before = sorted(old.rglob("*"))
    code, out, err = cli("analyze", old, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert sorted(old.rglob("*")) == before


def test_runs_without_analyses_and_unfinished_ones_are_one_line(cli: Cli, old: Path, tmp_path: Path) -> None:
    text = shutil.copytree(OLD["embedded"], tmp_path / "text")
    code, _, err = cli("analyze", text, "iterated")
    assert (code, err) == (2, f"iclgd: {text}: a run with experiment: text has no analyses\n")
    (old / "summary.json").unlink()
    code, _, err = cli("analyze", old, "iterated")
    assert (code, err) == (2, f"iclgd: {old}: the run is not complete; continue it with: iclgd resume {old}\n")


def test_figures_are_drawn_again(cli: Cli, old: Path) -> None:
    code, out, err = cli("figures", old, "learning_curve", "which_algorithm", "--format", "svg,pdf")
    assert (code, err) == (0, "")
    names = ["learning_curve.svg", "learning_curve.pdf", "which_algorithm.svg", "which_algorithm.pdf"]
    assert out.splitlines() == [str(old / "figures" / name) for name in names]
    first = {path: path.read_bytes() for path in (old / "figures").iterdir()}
    assert first[old / "figures" / "learning_curve.pdf"].startswith(b"%PDF")
    assert cli("figures", old, "learning_curve", "--format", "svg,pdf")[0] == 0
    assert {path: path.read_bytes() for path in (old / "figures").iterdir()} == first
    for arguments, said in (
        (["learning"], "unknown figure 'learning'; known: learning_curve, "),
        (["--format", "gif"], "unknown format 'gif'; known: png, svg, pdf"),
        (["iterated"], "the run has nothing to show as iterated"),
    ):
        code, _, err = cli("figures", old, *arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert said in err


def test_a_run_is_repeated_with_a_change(cli: Cli, old: Path, tmp_path: Path) -> None:
    code, out, err = cli("run", old, "seed=3", "trainer.max_steps=20", "analysis.run=[]")
    assert code == 0, err
    again = run_directory(out)
    assert again.path.parent == tmp_path / "runs" / "debug"
    assert "seed: 3" in again.config_path.read_text()
    assert json.loads((old / "summary.json").read_text()) != again.read_summary()
    code, _, err = cli("run", old, "--name", "../elsewhere")
    assert (code, err.count("\n")) == (2, 1)
    assert "--name must not be empty or begin with a dot" in err

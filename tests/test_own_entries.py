"""Each addition is one file outside the package: named with --import it runs, and summary, table and figure show it."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from iclgd import own_entries
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.workers.options import WorkerOptions
from iclgd.sweeps.workers.worker import Worker
from iclgd.tracking.run_directory import RunDirectory

Cli = Callable[..., tuple[int, str, str]]
SHORT = ("trainer.max_steps=2", "evaluation.every_num_steps=2", "evaluation.num_tasks=50")

ANALYSIS = '''
"""How far the answers lie from 0."""

from matplotlib.figure import Figure
from rich.table import Table

from iclgd.data.seeding import named_generator
from iclgd.experiments.analyses import ANALYSES, Analysis


def look(subjects, config):
    batches = [subject.task.sample(config.num_tasks, named_generator(subject.seed, "mine")) for subject in subjects]
    answers = [subject.transformer(*batch[:3]) for subject, batch in zip(subjects, batches)]
    return {"mean": [answer.abs().mean().item() for answer in answers]}


def draw(record, results):
    figure = Figure()
    figure.subplots().bar(range(len(record["mean"])), record["mean"])
    return figure


def table(record):
    shown = Table("my analysis")
    shown.add_row(f"mean answer {record['mean'][0]:.3g}")
    return shown


def refuse(task, model, config):
    return "needs task.output_dim=1" if task.output_dim > 1 else None


ANALYSES["mine"] = Analysis("my own analysis", run=look, refuse=refuse, figure=draw, table=table)
'''

TASK = '''
"""Absolute values, and a network as their reference."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from iclgd.analysis.learners import LEARNERS, Learner
from iclgd.analysis.references import Reference
from iclgd.data import REGRESSION_TASKS, LinearRegressionTask
from iclgd.report.style import COLOURS, LABELS


@dataclass(frozen=True)
class AbsoluteTask(LinearRegressionTask):
    """The absolute values of linear functions."""

    references: ClassVar[tuple[str, ...]] = ("mean_target",)

    name: str = "absolute"
    shift: float = 0.0

    def sample(self, num_tasks, generator, dtype=torch.float32):
        """Draw them."""
        x, y, query, target = super().sample(num_tasks, generator, dtype)
        return type(super().sample(1, generator, dtype))(x, y.abs() + self.shift, query, target.abs() + self.shift)


class MeanTarget(torch.nn.Module):
    """Predicts the mean of the context's targets, scaled by the query's norm."""

    def forward(self, x, y, query):
        """Predict."""
        return y.mean(1) * query.square().sum(-1, keepdim=True)


REGRESSION_TASKS["absolute"] = AbsoluteTask
LEARNERS["mean_target"] = Learner(
    "the mean of the targets", reference=lambda setting: Reference(MeanTarget(), {"mean_target/depth": 1.0})
)
COLOURS["mean_target"], LABELS["mean_target"] = "#123456", "the mean target"
'''

LEARNER = '''
"""Half of least squares: a baseline of every run, and a candidate of which_algorithm."""

from iclgd.analysis.candidates import Candidate
from iclgd.analysis.learners import LEARNERS, Learner
from iclgd.models import LeastSquares


def half(x, y, query):
    return LeastSquares()(x, y, query) / 2


LEARNERS["half"] = Learner(
    "half of least squares", baseline=lambda setting: half, candidates=lambda fit: {"half": Candidate(half, 0)}
)
'''

EXPERIMENT = '''
"""An experiment without any training: it counts."""

from dataclasses import dataclass, field

from matplotlib.figure import Figure
from rich.table import Table

from iclgd.experiments import EXPERIMENTS, Experiment, ExperimentEntry
from iclgd.runtime.trainer import DeviceConfig
from iclgd.tracking.wandb import TrackingConfig


@dataclass(frozen=True)
class Config:
    experiment: str = "counting"
    seed: int = 0
    start: int = 1
    trainer: DeviceConfig = field(default_factory=DeviceConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


def table(summary, title):
    shown = Table(title)
    shown.add_row(f"counted to {summary['count']:g}")
    return shown


def draw(results):
    figure = Figure()
    figure.subplots().bar([0], [results.summary["count"]])
    return figure


COUNTING = Experiment(
    config=Config,
    prepare=lambda config: range(config.start, config.start + 3),
    execute=lambda context, numbers: {"count": float(max(numbers) + context.config.seed)},
    needs_memory="start",
    figures={"count": draw},
    table=table,
)
EXPERIMENTS["counting"] = ExperimentEntry("counts", lambda: COUNTING)
'''


@pytest.fixture(autouse=True)
def _own_registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give every test registries of its own."""
    from iclgd.analysis import learners
    from iclgd.data import REGRESSION_TASKS
    from iclgd.experiments import EXPERIMENTS
    from iclgd.experiments.analyses import ANALYSES
    from iclgd.measures import TEXT_METRICS
    from iclgd.report import style

    registries = (ANALYSES, EXPERIMENTS, REGRESSION_TASKS, TEXT_METRICS, learners.LEARNERS, style.COLOURS, style.LABELS)
    before = [dict(registry) for registry in registries]
    modules = set(sys.modules)
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)  # type: ignore[arg-type]
    for name in set(sys.modules) - modules:
        if name.startswith("iclgd_own_"):
            del sys.modules[name]


def written(tmp_path: Path, text: str, name: str = "mine.py") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def finished(out: str) -> RunDirectory:
    return RunDirectory(Path(out.splitlines()[-1]))


def test_an_analysis(cli: Cli, small_config: Path, tmp_path: Path) -> None:
    mine = written(tmp_path, ANALYSIS)
    code, out, err = cli("run", small_config, *SHORT, "analysis={run: [mine], num_tasks: 20}", "--import", mine)
    assert code == 0, err
    directory = finished(out)
    (mean,) = directory.read_analyses()["mine"]["mean"]
    assert f"mean answer {mean:.3g}" in out
    assert (directory.figures / "mine.png").exists()
    refused = cli("run", small_config, "analysis.run=[mine]", "task.output_dim=2", f"--import={mine}")
    assert refused == (2, "", "iclgd: analysis.run: mine needs task.output_dim=1\n")


def test_a_task_with_its_own_reference(cli: Cli, small_config: Path, tmp_path: Path) -> None:
    mine = written(tmp_path, TASK)
    code, out, err = cli("run", "--import", mine, small_config, *SHORT, "task.name=absolute", "task.shift=0.5")
    assert code == 0, err
    directory = finished(out)
    summary = directory.read_summary() or {}
    assert {"loss/mean_target", "alignment/sensitivity_cosine"} <= set(summary)
    assert "loss/gd" not in summary
    assert summary["mean_target/depth"] == 1
    assert "loss/mean_target" in out
    assert {path.stem for path in directory.figures.iterdir()} == {"learning_curve", "alignment"}


def test_the_figure_names_the_first_reference_of_a_task() -> None:
    from iclgd.report.results import Results
    from iclgd.report.training_figures import learning_curve

    losses = {"loss/transformer": 1.0, "loss/mean_target": 0.5, "loss/other": 0.7, "loss/interpolated": 0.6}
    measure = "alignment/sensitivity_cosine"
    results = Results([{"step": step, **losses, measure: 0.1, f"{measure}_other": 0.2} for step in (0, 1)])
    assert results.references() == ["mean_target", "other"]
    figure = learning_curve(results)
    assert figure is not None
    assert "mean target (0.5)" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_learner(cli: Cli, small_config: Path, tmp_path: Path) -> None:
    mine = written(tmp_path, LEARNER)
    which = "analysis={run: [which_algorithm], num_tasks: 40, num_resamples: 5}"
    code, out, err = cli("run", small_config, *SHORT, which, "--import", mine)
    assert code == 0, err
    directory = finished(out)
    assert "loss/half" in (directory.read_summary() or {})
    assert "loss/half" in out
    (seed,) = directory.read_analyses()["which_algorithm"]["seeds"]
    assert "half" in {row["learner"] for row in seed["rows"]}


def test_an_experiment(cli: Cli, tmp_path: Path) -> None:
    mine = written(tmp_path, EXPERIMENT)
    config = tmp_path / "count.yaml"
    config.write_text("experiment: counting\ntracking: {mode: disabled}\n")
    code, out, err = cli("run", config, "seed=4", "start=2", "--import", mine)
    assert code == 0, err
    directory = finished(out)
    assert directory.read_summary() == {"count": 8.0}
    assert "counted to 8" in out
    assert [path.name for path in directory.figures.iterdir()] == ["count.png"]
    listed = cli("list", "--import", mine)[1]
    assert f"{'experiment':<20} {'counting':<36} counts\n" in listed


def test_a_run_remembers_its_files_and_goes_on_with_them_alone(cli: Cli, tmp_path: Path) -> None:
    mine = written(tmp_path, EXPERIMENT)
    config = tmp_path / "count.yaml"
    config.write_text("experiment: counting\ntracking: {mode: disabled}\n")
    directory = finished(cli("run", config, "--import", mine)[1])
    recorded = {"path": str(mine), "sha256": hashlib.sha256(mine.read_bytes()).hexdigest()}
    environment = directory.read_environment() or {}
    assert environment["imports"] == [recorded]
    code, out, err = cli("resume", directory.path)
    assert (code, out) == (2, "")
    assert err == (
        f"iclgd: {directory.path}: made with own entries of mine.py (sha256 {recorded['sha256'][:8]}...); go on with: "
        f"iclgd resume {directory.path} --import {mine}\n"
    )
    moved = written(tmp_path / "runs", EXPERIMENT + "# mended\n")
    code, out, err = cli("resume", directory.path, "--import", moved)
    assert code == 0
    assert "mine.py: has changed since it was last used here (sha256 " in err
    files = (directory.read_environment() or {})["imports"]
    assert files == [recorded, {"path": str(moved), "sha256": hashlib.sha256(moved.read_bytes()).hexdigest()}]
    assert "has changed" not in cli("resume", directory.path, "--import", moved)[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "mine.py: no such file"),
        ("x = 1\nif x\n", "mine.py: line 2: expected ':'"),
        ("import iclgd.nothing\n", "mine.py: line 1: ModuleNotFoundError: No module named 'iclgd.nothing'"),
        ("def f():\n    raise SystemExit('enough')\nf()\n", "mine.py: line 2: SystemExit: enough"),
        ("\x00", "mine.py: "),
        (
            "from iclgd.experiments.analyses import ANALYSES\nANALYSES['mine'] = print\n",
            "mine.py: ANALYSES['mine'] must be of Analysis, got <built-in function print>",
        ),
        (
            "from iclgd.measures import TEXT_METRICS\nTEXT_METRICS['mine'] = print\n",
            "mine.py: TEXT_METRICS['mine'] must be of TextMetric, got <built-in function print>",
        ),
        (
            "from iclgd.data import REGRESSION_TASKS, SineTask\nREGRESSION_TASKS['a/b'] = SineTask\n",
            "mine.py: REGRESSION_TASKS: a name has letters, digits and '_' only, got 'a/b'",
        ),
    ],
)
def test_a_file_that_cannot_be_used_ends_in_one_line(
    cli: Cli, small_config: Path, tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "mine.py" if text is None else written(tmp_path, text)
    code, out, err = cli("run", small_config, "--import", path)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_config_cannot_name_a_file(cli: Cli, small_config: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    mine = written(tmp_path, f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    for line in (f"imports: [{mine}]", f"import: {mine}"):
        evil = tmp_path / "evil.yaml"
        evil.write_text(f"{small_config.read_text()}{line}\n")
        assert cli("show-config", evil)[0] == 2
    assert not marker.exists()
    assert cli("show-config", small_config, "--import", mine)[0] == 0
    assert marker.exists()


def test_a_file_named_twice_runs_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    mine = written(tmp_path, f"with open({str(log)!r}, 'a') as file:\n    file.write('run ')\n")
    other = written(tmp_path, "", "other.py")
    imported = own_entries.load([mine, other, mine])
    assert [Path(file.path).name for file in imported] == ["mine.py", "other.py"]
    assert log.read_text() == "run "


def test_a_damaged_record_of_files_is_none() -> None:
    for broken in ({}, {"imports": 3}, {"imports": [3, {"path": 1}]}):
        own_entries.compare(broken, [], Path("run"), "iclgd resume run")


def sweep_file(tmp_path: Path) -> Path:
    """Write a sweep of two points of the experiment that counts."""
    (tmp_path / "count.yaml").write_text("experiment: counting\ntracking: {mode: disabled}\n")
    path = tmp_path / "sweep.yaml"
    command = ["${env}", "iclgd", "run", str(tmp_path / "count.yaml"), "${args_no_hyphens}"]
    path.write_text(json.dumps({"method": "grid", "parameters": {"start": {"values": [1, 2]}}, "command": command}))
    return path


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_plan_of_a_sweep_has_its_files(cli: Cli, tmp_path: Path) -> None:
    mine, sweep = written(tmp_path, EXPERIMENT), sweep_file(tmp_path)
    code, out, _ = cli("sweep", sweep, "--dry-run", "--import", mine)
    assert code == 0
    assert [line.rpartition(" --import ")[2] for line in out.splitlines()] == [str(mine)] * 2
    assert "start=2" in out.splitlines()[1]
    script = cli("sweep", sweep, "--dry-run", "--launcher", "slurm", f"--import={mine}")[1]
    assert f" --import {mine} " in script.splitlines()[-1]


def test_workers_hand_files_on_to_new_and_to_resumed_trials(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, sweep, folder = written(tmp_path, EXPERIMENT), sweep_file(tmp_path), tmp_path / "folder"
    monkeypatch.setattr("iclgd.sweeps.start._launch", interrupt)
    code, _, err = cli("sweep", sweep, "--engine", "local", "--dir", folder, "--import", mine)
    assert code == 130
    assert err.endswith(f"go on with: iclgd sweep {sweep} --resume --dir {folder} --import {mine}\n")
    worker = Worker(SweepFolder(folder), WorkerOptions("worker", imports=(mine,)))
    claim = worker.trials.claim("worker", 0)
    assert claim is not None
    command = worker.command(claim)
    assert ("run" in command, command[-2:]) == (True, ["--import", str(mine)])
    (folder / "runs" / "count" / worker.folder.run_id(claim.point)).mkdir(parents=True)
    command = worker.command(claim)
    assert ("resume" in command, command[-2:]) == (True, ["--import", str(mine)])
    for again in (["sweep", sweep, "--resume", "--dir", folder], ["sweep", "work", folder]):
        code, _, err = cli(*again)
        assert code == 2
        assert err.startswith(f"iclgd: {folder}: made with own entries of mine.py (sha256 ")
        assert err.endswith(f" --import {mine}\n")


def test_agents_of_wandb_get_files_with_the_command(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, sweep, commands = written(tmp_path, EXPERIMENT), sweep_file(tmp_path), []

    def create(content: dict[str, Any], command: list[str], project: str, entity: str | None) -> str:
        commands.append(command)
        return "entity/project/sweep"

    monkeypatch.setattr("iclgd.sweeps.start.online.choose_engine", lambda wanted: ("wandb", "W&B"))
    monkeypatch.setattr("iclgd.sweeps.start.online.create", create)
    monkeypatch.setattr("iclgd.sweeps.start._launch", interrupt)
    assert cli("sweep", sweep, "--dir", tmp_path / "folder", "--import", mine)[0] == 130
    assert commands == [
        ["${env}", "iclgd", "run", str(tmp_path / "count.yaml"), "${args_no_hyphens}", "--import", str(mine)]
    ]


@pytest.mark.slow
def test_a_sweep_of_an_own_experiment_runs_and_goes_on(cli: Cli, tmp_path: Path) -> None:
    mine, sweep, folder = written(tmp_path, EXPERIMENT), sweep_file(tmp_path), tmp_path / "folder"
    options = ["--engine", "local", "--dir", folder]
    code, _, err = cli("sweep", sweep, *options, "--import", mine)
    assert code == 0, err
    counts = [json.loads(path.read_text())["count"] for path in folder.glob("runs/*/*/summary.json")]
    assert sorted(counts) == [3, 4]
    code, _, err = cli("sweep", sweep, *options, "--resume")
    assert code == 2
    assert f"--dir {folder} --import {mine}" in err
    assert cli("sweep", sweep, *options, "--resume", "--import", mine)[0] == 0

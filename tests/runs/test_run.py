"""Runs opened again, those of an older version first: see tests/reference/runs/README.md."""

import json
import shutil
from pathlib import Path

import pytest

import iclgd
from iclgd.data.seeding import named_generator
from iclgd.files import FileError
from iclgd.runs.names import UnknownNameError
from iclgd.runs.opening import config_and_name
from iclgd.runs.run import Run
from iclgd.tracking.run_directory import RunDirectoryError
from tests.conftest import ROOT

RUNS = ROOT / "tests" / "reference" / "runs"
OLD = {path.parent.parent.name: path.parent for path in RUNS.glob("*/*/config.yaml")}


def test_an_older_run_opens_with_all_its_parts() -> None:
    run = iclgd.load_run(OLD["debug"])
    assert (run.config.experiment, run.config.seed, run.config.trainer.max_steps) == ("regression", 0, 40)
    assert run.config_dict["trainer"]["max_steps"] == 40
    assert run.environment["commit"].startswith("e4bb992")
    assert run.is_complete
    assert run.summary["loss/gd"] == json.loads((run.path / "summary.json").read_text())["loss/gd"]
    steps, values = run.metrics["loss/transformer"]
    assert (steps.tolist(), values.shape) == ([0, 20, 40], (3,))
    assert run.metrics["train/loss"].steps.tolist() == [20, 40]
    assert run.predictions == []
    assert set(run.analysis) == {"which_algorithm"}
    assert repr(run).startswith("<Run debug/")
    assert "complete" in repr(run)


@pytest.mark.parametrize("name", ["debug", "seeds"])
def test_the_models_have_the_losses_of_the_summary(name: str) -> None:
    run = iclgd.load_run(OLD[name])
    config = run.config
    for index, seed in enumerate(seeds := range(config.seed, config.seed + config.training.num_seeds)):
        ending = f"/seed_{seed}" if len(seeds) > 1 else ""
        batch = config.task.sample(config.evaluation.num_tasks, named_generator(seed, "evaluation"))
        names = {each.removesuffix(ending) for each in run.models if each.endswith(ending)}
        assert names == {"transformer", "gd"} | ({"gd_plus_plus"} if config.model.num_layers > 1 else set())
        for each in names:
            prediction = run.models[each + ending](batch.x, batch.y, batch.query)
            loss = 0.5 * (prediction - batch.target).square().mean()
            assert loss.item() == pytest.approx(run.summary[f"loss/{each}{ending}"], rel=1e-5)
        if len(seeds) > 1:
            assert run.metrics["loss/transformer"].values.shape == (len(seeds), 3)
            assert run.metrics["loss/transformer"].values[index, -1] == run.summary[f"loss/transformer{ending}"]


def test_a_model_of_a_run_is_asked_which_algorithm_it_is() -> None:
    run = iclgd.load_run(OLD["debug"])
    found = iclgd.which_algorithm(run.models["transformer"], run.config.task, num_tasks=100, num_resamples=10)
    then = run.analysis["which_algorithm"]["seeds"][0]["rows"]
    assert len(found.distances) == len(then)
    for row in then:
        assert found.distances[row["learner"]] == pytest.approx(row["sensitivity_l2"], rel=1e-5)


def test_an_older_text_run_opens() -> None:
    run = iclgd.load_run(str(OLD["embedded"]))
    assert (run.config.experiment, run.predictions, run.models) == ("text", [], {})
    assert run.metrics["finetune/loss"].values.shape == (32,)
    assert run.summary["accuracy/in_context"] > 0
    with pytest.raises(UnknownNameError, match="such a run keeps no weights"):
        run.models["transformer"]
    assert run.figure("similarity").axes


def test_figures_show_themselves_in_a_notebook() -> None:
    run = iclgd.load_run(OLD["debug"])
    figure = run.figure("learning_curve")
    assert figure.axes
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    with pytest.raises(UnknownNameError, match=r"unknown figure 'learning_curves'; .* did you mean learning_curve\?"):
        run.figure("learning_curves")
    with pytest.raises(UnknownNameError, match="nothing for the figure 'iterated'"):
        run.figure("iterated")
    shown = run._repr_html_()
    assert "loss/transformer" in shown
    assert shown.count("<div>") == shown.count("</div>")


def test_names_that_there_are_not_are_one_line() -> None:
    run = iclgd.load_run(OLD["debug"])
    for part, name, meant in (
        (run.metrics, "loss/transfomer", "loss/transformer"),
        (run.models, "gpp", "known: transformer, gd"),
        (run.summary, "loss/ridg", "loss/ridge"),
        (run.analysis, "which", "iclgd analyze"),
    ):
        with pytest.raises(KeyError) as error:
            part[name]  # type: ignore[index]
        assert meant in str(error.value)
        assert "\n" not in str(error.value)


def test_what_is_no_run_directory_is_one_line(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "absent", "no such folder"),
        (tmp_path, "not a run directory"),
        (OLD["debug"] / "config.yaml", "not a run directory, but a file"),
        (OLD["debug"].parent, f"1 below it, such as {OLD['debug']}"),
    ):
        with pytest.raises(RunDirectoryError) as error:
            iclgd.load_run(path)
        assert said in str(error.value)
        assert "\n" not in str(error.value)


def test_damaged_parts_are_told_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shutil.copytree(OLD["debug"], tmp_path / "debug" / "run")
    for name, part in (("metrics.jsonl", "metrics"), ("summary.json", "summary"), ("environment.json", "environment")):
        (path / name).write_bytes(b"\0" * 10 + b"\n")
        assert dict(getattr(Run(path), part)) == {}
        assert f"{path / name}: " in capsys.readouterr().err.splitlines()[0]
    assert not Run(path).is_complete
    (path / "weights.safetensors").write_bytes(b"\0" * 10)
    with pytest.raises(RunDirectoryError, match=r"weights\.safetensors: cannot be read .* try: iclgd resume"):
        _ = Run(path).models
    with pytest.raises(RunDirectoryError, match=r"weights\.safetensors: cannot be read"):
        Run(path).figure("learning_curve")
    (path / "config.yaml").write_text("a: [")
    with pytest.raises(RunDirectoryError, match=r"config\.yaml: damaged"):
        _ = Run(path).config
    other = shutil.copytree(OLD["debug"], tmp_path / "debug" / "other")
    text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace("input_dim: 3", "input_dim: 4"))
    with pytest.raises(RunDirectoryError, match=r"transformer is not what config\.yaml describes"):
        _ = Run(other).models


def test_a_run_on_gpus_opens_without_any(tmp_path: Path) -> None:
    path = shutil.copytree(OLD["debug"], tmp_path / "run")
    text = (path / "config.yaml").read_text()
    edited = text.replace("accelerator: cpu", "accelerator: gpu").replace("devices: 1\n", "devices: 64\n")
    (path / "config.yaml").write_text(edited)
    run = iclgd.load_run(path)
    assert (run.config.trainer.accelerator, run.config_dict["trainer"]["accelerator"]) == ("auto", "gpu")


def test_opening_changes_nothing(tmp_path: Path) -> None:
    path = shutil.copytree(OLD["debug"], tmp_path / "run")
    before = {each.relative_to(path): each.read_bytes() for each in path.rglob("*") if each.is_file()}
    run = iclgd.load_run(path)
    for part in ("config", "environment", "summary", "metrics", "models", "predictions", "analysis"):
        getattr(run, part)
    run.figure("weights")
    assert {each.relative_to(path): each.read_bytes() for each in path.rglob("*") if each.is_file()} == before


def test_a_repeated_run_has_its_own_name(tmp_path: Path) -> None:
    config = OLD["debug"] / "config.yaml"
    assert config_and_name(OLD["debug"]) == (config, "debug")
    assert config_and_name(OLD["debug"], "other") == (config, "other")
    assert config_and_name(tmp_path / "a.yaml", "other") == (tmp_path / "a.yaml", "other")
    for name in ("", "..", "a/b", ".hidden", "a\nb", "x" * 201):
        with pytest.raises(FileError, match="--name must not be empty or begin with a dot"):
            config_and_name(OLD["debug"], name)

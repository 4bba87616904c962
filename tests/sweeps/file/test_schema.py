import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from iclgd.sweeps.file import schema
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.schema import Hyperband, Metric, SweepFile
from tests.conftest import ROOT

DEBUG = ROOT / "configs" / "regression" / "debug.yaml"


def content(**changes: Any) -> dict[str, Any]:
    command = ["${env}", "iclgd", "run", str(DEBUG), "trainer.max_steps=50", "${args_no_hyphens}"]
    parameters = {"training.learning_rate": {"values": [0.001, 0.003]}, "seed": {"values": [0, 1, 2]}}
    whole = {"method": "grid", "metric": {"name": "loss"}, "command": command, "parameters": parameters, **changes}
    return {key: value for key, value in whole.items() if value is not None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rates.yaml"


def read(path: Path, **changes: Any) -> SweepFile:
    path.write_text(yaml.safe_dump(content(**changes), allow_unicode=True))
    return schema.read(path)


def refused(path: Path, **changes: Any) -> str:
    with pytest.raises(SweepError) as error:
        read(path, **changes)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_a_sweep_file_is_read(path: Path) -> None:
    early = {"type": "hyperband", "min_iter": 3}
    sweep = read(path, run_cap=5, early_terminate=early, description="Rates")
    assert (sweep.path, sweep.name, sweep.method, sweep.config) == (path, "rates", "grid", DEBUG)
    assert sweep.text == path.read_text()
    assert sweep.content == yaml.safe_load(sweep.text)
    assert (sweep.metric, sweep.fixed, sweep.run_cap) == (Metric("loss", "minimize"), ("trainer.max_steps=50",), 5)
    assert sweep.early_termination == Hyperband(min_iter=3, eta=3, strict=False)
    assert [parameter.key for parameter in sweep.parameters] == ["seed", "training.learning_rate"]  # the dump sorts


def test_the_grid_lists_every_point_once_with_the_last_key_fastest(path: Path) -> None:
    sweep = read(path)
    points = [" ".join(sweep.overrides(raws)) for raws in sweep.grid()]
    rates = ("training.learning_rate=0.001", "training.learning_rate=0.003")
    assert points == [f"seed={seed} {rate}" for seed in range(3) for rate in rates]
    assert sweep.num_points == len(points) == len(set(points)) == 6


@pytest.mark.parametrize(
    "start",
    [
        ["${env}", "iclgd"],
        ["iclgd"],
        ["${interpreter}", "-m", "iclgd.cli"],
        ["${env}", "${interpreter}", "-m", "iclgd.cli"],
    ],
)
def test_forms_of_the_command(path: Path, start: list[str]) -> None:
    sweep = read(path, command=[*start, "run", "c.yaml", "${args_no_hyphens}"])
    assert (sweep.config, sweep.fixed) == (Path("c.yaml"), ())


EXAMPLE = 'write it like command: ["${env}", iclgd, run, CONFIG, key=value, "${args_no_hyphens}"]'


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (None, "command: must be a list of texts; "),
        ("iclgd run c.yaml", "command: must be a list of texts; "),
        (["iclgd", "run", "c.yaml", 5, "${args_no_hyphens}"], "command: must be a list of texts; "),
        ([], "command: must start iclgd run; "),
        (["iclgd", "resume", "c.yaml", "${args_no_hyphens}"], "command: must start iclgd run; "),
        (["python", "train.py", "${args_no_hyphens}"], "command: must start iclgd run; "),
        (["iclgd", "run", "c.yaml"], "command: must end with ${args_no_hyphens}"),
        (["iclgd", "run", "c.yaml", "${args}"], "command: must end with ${args_no_hyphens}"),
        (["iclgd", "run", "c.yaml", "${args_no_hyphens}", "seed=1"], "command: must end with ${args_no_hyphens}"),
        (["iclgd", "run", "${args_no_hyphens}"], "command: iclgd run needs a config, by name or path; "),
        (
            ["iclgd", "run", "model.clip=1", "${args_no_hyphens}"],
            "command: iclgd run needs a config, by name or path; ",
        ),
        (
            ["iclgd", "run", "--help", "c.yaml", "${args_no_hyphens}"],
            "command: iclgd run needs a config, by name or path; ",
        ),
        (
            ["iclgd", "run", "c.yaml", "fast", "${args_no_hyphens}"],
            "command: expected key=value, such as model.num_lay",
        ),
    ],
)
def test_other_commands_are_refused_with_an_example(path: Path, command: Any, message: str) -> None:
    refusal = refused(path, command=command)
    assert refusal.startswith(message)
    assert refusal.endswith(EXAMPLE)


GRID = {"values": [1, 2]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methd": "grid"}, "unknown key methd; known here: method, metric, "),
        ({"controller": {"type": "local"}}, "unknown key controller; known here: "),
        ({"method": None}, "method: must be one of: grid, random, bayes; got None"),
        ({"method": "gird"}, "method: must be one of: grid, random, bayes; got 'gird'; did you mean grid?"),
        ({"method": ["grid"]}, "method: must be one of: grid, random, bayes; got ['grid']"),
        ({"name": 3}, "name: must be text, got 3"),
        ({"metric": None, "method": "bayes"}, "metric: method: bayes needs one, such as metric: {name: "),
        ({"metric": "loss"}, "metric: must be such as {name: loss/transformer, goal: minimize}, got 'loss'"),
        ({"metric": {"goal": "minimize"}}, "metric: must be such as {name: loss/transformer, goal: minimize}"),
        ({"metric": {"name": "a", "goal": "min"}}, "metric.goal: must be one of: minimize, maximize; got 'min'"),
        ({"metric": {"name": "a", "gaol": "minimize"}}, "unknown key metric.gaol; known here: name, goal, target"),
        ({"metric": {"name": "a", "target": "low"}}, "metric.target: must be a number, got 'low'"),
        ({"metric": {"name": "a", "impute": "mean"}}, "metric.impute: must be one of: latest, best, worst; got 'mean'"),
        ({"run_cap": 0}, "run_cap: must be a whole number of at least 1, got 0"),
        ({"run_cap": 1.5}, "run_cap: must be a whole number of at least 1, got 1.5"),
        ({"early_terminate": 3}, "early_terminate: must be such as {type: hyperband, min_iter: 3}, got 3"),
        ({"early_terminate": {"min_iter": 3}}, "early_terminate.type: must be one of: hyperband; got None"),
        ({"early_terminate": {"type": "hyperband"}}, "early_terminate: must have min_iter, or max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "max_iter": 3}}, "early_terminate: must have min_iter, or max_iter"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 0}}, "early_terminate.min_iter: must be a whole number"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 1}}, "early_terminate.eta: must be a number "),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "strict": 1}}, "early_terminate.strict: must be tru"),
        ({"early_terminate": {"type": "hyperband", "mni_iter": 1}}, "unknown key early_terminate.mni_iter; known here"),
        ({"metric": None, "early_terminate": {"type": "hyperband", "min_iter": 1}}, "metric: early_terminate needs on"),
        ({"parameters": None}, "parameters: must have at least one"),
        ({"parameters": {}}, "parameters: must have at least one"),
        ({"parameters": {"seed": {"min": 0, "max": 10**9}}}, "parameters: a grid of 1,000,000,001 points; at most 100"),
        ({"parameters": {"x": {"distribution": "q_uniform", "min": 0, "max": 1e300, "q": 1e-300}}}, "parameters: a gr"),
        ({"parameters": {"trainer.max_steps": GRID}}, "command: trainer.max_steps=50: parameters.trainer.max_steps gi"),
        ({"parameters": {"trainer": {"value": {"devices": 1}}}}, "command: trainer.max_steps=50: parameters.trainer g"),
    ],
)  # fmt: skip
def test_mistakes_are_named(path: Path, changes: dict[str, Any], message: str) -> None:
    assert refused(path, **changes).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: [grid\n", "not valid YAML (line 2, column 1: expected ',' or ']', but got"),
        ("method: grid\nseed: @a\n", "not valid YAML (line 2, column 7: found character '@' that cannot start"),
        ("method: grid\nmethod: random\n", "not valid YAML (line 2, column 1: method is given twice)"),
        (
            "parameters: {seed: {value: 1}, seed: {value: 2}}\n",
            "not valid YAML (line 1, column 32: seed is given twice)",
        ),
        ("a: \x00", "not valid YAML (unacceptable character 0x0000 in line 1)"),
        ("date: 2020-13-45", "line 1, column 7: '2020-13-45' (!!timestamp) is neither text nor a number, true, false"),
        ("[" * 5000, "not valid YAML (line 1, column 31: more than 30 levels)"),
        ("", "expected the keys of a sweep: method, "),
        ("- method\n", "expected the keys of a sweep: method, "),
        ("method", "expected the keys of a sweep: method, "),
        ("1: 2\n", "unknown key 1; known here: method, "),
        (
            "method: grid\nparameters: &a {model: {parameters: *a}}\n",
            "not valid YAML (line 2, column 37: a contains itself)",
        ),
    ],
)
def test_what_is_not_a_sweep_file_is_named(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(SweepError) as error:
        schema.read(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_merged_anchors_are_no_duplicates(path: Path) -> None:
    text = yaml.safe_dump(content(parameters=None))
    path.write_text(f"{text}parameters:\n  seed: &a {{min: 0, max: 3}}\n  model.num_layers: {{<<: *a, min: 1}}\n")
    assert schema.read(path).num_points == 4 * 3


def test_missing_and_unreadable_files_are_named(path: Path, tmp_path: Path) -> None:
    path.write_text("")
    with pytest.raises(SweepError, match=r"ratse\.yaml: no such file; did you mean .*rates\.yaml\?"):
        schema.read(path.with_name("ratse.yaml"))
    with pytest.raises(SweepError, match=r"cannot be read .*Is a directory"):
        schema.read(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SweepError, match="line 1: is not UTF-8 text"):
        schema.read(path)


def test_reading_imports_nothing_heavy() -> None:
    script = "import sys; import iclgd.sweeps.file.schema; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "lightning", "omegaconf", "wandb", "optuna"}

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from iclgd import config as configs
from iclgd.checks import InputError
from iclgd.sweeps.file import checking
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.schema import SweepFile
from tests.conftest import ROOT
from tests.sweeps.file.test_schema import DEBUG, GRID, read

EXPERIMENTS = {
    "regression": ("regression/sine.yaml", "{training.learning_rate: {values: [0.001, 1]}, analysis.run: {value: []}}"),
    "text": ("text/embedded.yaml", "{finetune: {parameters: {learning_rate: {values: [0.1, 0.2]}}}}"),
    "few_shot": ("few_shot/few_shot.yaml", "{demonstrations.seed: {values: [0, 1]}}"),
    "language_modeling": (
        "language_modeling/embedded_model.yaml",
        "{seed: {values: [0, 1]}, task.name: {value: few_shot}}",
    ),
    "functions": ("functions/linear_small.yaml", "{task.input_dim: {values: [5, 6]}, task.name: {value: linear}}"),
    "sequences": ("sequences/linear_system_mesa.yaml", "{task.length: {values: [20, 30]}}"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rates.yaml"


def check(sweep: SweepFile, *overrides: str) -> None:
    checking.check(sweep, list(sweep.grid()) if sweep.method == "grid" else [], overrides)


def refused(path: Path, **changes: Any) -> str:
    sweep = read(path, **changes)
    with pytest.raises(InputError) as error:
        check(sweep)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_points_give_the_config_the_values_of_the_file(path: Path) -> None:
    values = {
        "training.learning_rate": [1e-05, 1, 3e16],
        "model.recurrent": [True, False],
        "model.key_size": [None, 3],
        "tracking.group": [None, "null", "1e5", "a b: #c", "é", ""],
        "tracking.tags": [[], ["a, b", "None"], ["1"]],
        "trainer.precision": ["32-true"],
    }
    sweep = read(path, parameters={key: {"values": each} for key, each in values.items()})
    for raws in sweep.grid():
        loaded = configs.load(sweep.config, [*sweep.fixed, *sweep.overrides(raws)])
        for parameter in sweep.parameters:
            group, name = parameter.key.split(".")
            value = parameter.value(raws[parameter.key])
            assert getattr(getattr(loaded, group), name) == value


@pytest.mark.parametrize("experiment", configs.EXPERIMENTS)
def test_sweeps_of_every_experiment_can_be_checked(path: Path, experiment: str) -> None:
    config, parameters = EXPERIMENTS[experiment]
    command = ["iclgd", "run", str(ROOT / "configs" / config), "${args_no_hyphens}"]
    check(read(path, command=command, parameters=yaml.safe_load(parameters)), "tracking.mode=disabled")


def test_names_choose_the_keys_of_their_group(path: Path) -> None:
    command = ["iclgd", "run", str(DEBUG), "${args_no_hyphens}"]
    sine = {"task.name": {"value": "sine"}, "task.coupled": {"values": [True, False]}}
    assert hasattr(configs.load(DEBUG, ["task.name=sine"]).task, "coupled")
    assert not hasattr(configs.load(DEBUG).task, "coupled")
    bounded = {"method": "bayes", "command": command}
    check(read(path, **bounded, parameters=sine))
    both = {**sine, "task.name": {"values": ["linear", "sine"]}}
    message = refused(path, **bounded, parameters=both)
    assert message.startswith("parameters.task.coupled: unknown key task.coupled; ")
    check(
        read(path, **bounded, parameters={"task": {"values": [{"name": "sine"}, {"name": "linear", "num_noise": 1}]}})
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"parameters": {"training.learning_rat": GRID}},
            "parameters.training.learning_rat: unknown key training.learning_rat; did you mean training.learning_rate?",
        ),
        ({"parameters": {"modle": GRID}}, "parameters.modle: unknown key modle; did you mean model? Known here: "),
        ({"parameters": {"seed": {"values": [1, "ten"]}}}, "parameters.seed: seed must be a whole number, got 'ten'"),
        ({"parameters": {"model.recurrent": {"value": 1.5}}}, "parameters.model.recurrent: model.recurrent must be tr"),
        (
            {"method": "random", "parameters": {"model.num_layers": {"min": 0.0, "max": 2.0}}},
            "parameters.model.num_layers: model.num_layers must be a whole number, got 0.0",
        ),
        (
            {"method": "bayes", "parameters": {"model.num_layers": {"distribution": "log_normal"}}},
            "parameters.model.num_layers: model.num_layers must be a whole number, got ",
        ),
        (
            {"method": "random", "parameters": {"seed": {"values": [1, "x"], "probabilities": [0.9, 0.1]}}},
            "parameters.seed: seed must be a whole number, got 'x'",
        ),
        ({"parameters": {"seed": {"values": [1, "1"]}}}, 'parameters.seed: seed=1 and seed="1" are the same; a grid '),
        ({"parameters": {"model.clip": {"values": [0, 0.0]}}}, "parameters.model.clip: model.clip=0 and model.clip=0."),
        ({"parameters": {"task.name": {"values": ["linear", "cosine"]}}}, "parameters.task.name: task.name must be on"),
        ({"parameters": {"task.name": {"values": ["linear", 3]}}}, "parameters.task.name: task.name must be one of"),
        ({"parameters": {"experiment": {"value": "txt"}}}, "parameters.experiment: experiment must be one of: regress"),
        ({"parameters": {"seed": {"values": [1, "${nothing}"]}}}, "parameters.seed: seed: '${nothing}': nothing is"),
        ({"parameters": {"seed": {"values": [1, "${"]}}}, "parameters.seed: seed: '${': nothing is filled in for"),
        (
            {"parameters": {"tracking.group": {"values": ["a", 5349]}}},
            "parameters.tracking.group: must be text, got 5349; put what is text in quotes",
        ),
        ({"parameters": {"seed": {"values": [0, -1]}}}, "point seed=-1: seed must be at least 0, got -1"),
        (
            {"parameters": {"model": {"parameters": {"num_layers": {"values": [2, 1]}, "clip": {"value": 10}}}}},
            "point model.clip=10 model.num_layers=1: model.clip acts between layers: it must be 0 with model.num_layer",
        ),
        ({"parameters": {"training.num_seeds": {"values": [1, 0]}}}, "point training.num_seeds=0: training.num_seeds "),
        (
            {"command": ["iclgd", "run", str(DEBUG), "seeed=3", "${args_no_hyphens}"]},
            "command: unknown key seeed; did you mean seed? Known here: ",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named(path: Path, changes: dict[str, Any], message: str) -> None:
    assert refused(path, **changes).startswith(message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=3", "command line: seed=3: the sweep gives seed its values"),
        (
            "training={learning_rate: 1}",
            "command line: training={learning_rate: 1}: the sweep gives training.learning_",
        ),
        ("trainer.max_step=3", "command line: unknown key trainer.max_step; did you mean trainer.max_steps?"),
        ("trainer.max_steps=ten", "command line: trainer.max_steps must be a whole number, got 'ten'"),
        ("trainer.max_steps", "command line: expected key=value, such as model.num_layers=2, got 'trainer.max_steps'"),
        ("model.clip=[", "command line: 'model.clip=[': not valid YAML ("),
    ],
)
def test_mistakes_on_the_command_line_are_named(path: Path, override: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        check(read(path), override)
    assert str(error.value).startswith(message)


def test_bad_values_on_the_command_line_are_named_with_a_point(path: Path) -> None:
    with pytest.raises(SweepError) as error:
        check(read(path, parameters={"seed": {"values": [4]}}), "model.num_layers=0")
    assert (
        str(error.value) == f"{path}: point seed=4 with model.num_layers=0: model.num_layers must be at least 1, got 0"
    )


def test_a_missing_config_is_named(path: Path) -> None:
    with pytest.raises(InputError, match=r"debgu\.yaml: no such file; did you mean .*debug\.yaml"):
        check(read(path, command=["iclgd", "run", str(DEBUG.with_name("debgu.yaml")), "${args_no_hyphens}"]))


def test_the_first_and_the_last_of_many_points_are_loaded(path: Path) -> None:
    for low, high in ((-1, 9_000), (0, 10_000)):
        sweep = read(path, parameters={"seed": {"min": low, "max": high}})
        points = list(sweep.grid())
        if low < 0:
            with pytest.raises(SweepError, match="point seed=-1: "):
                checking.check(sweep, points, [])
            with pytest.raises(SweepError, match="point seed=-1: "):
                checking.check(sweep, points[::-1], [])


def test_points_are_loaded_as_run_loads_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = read(path, parameters={"task.name": {"values": ["sine", "linear"]}, "seed": {"values": [1, 2]}})
    points, loaded = list(sweep.grid()), []
    expected = [
        configs.load(sweep.config, [*sweep.fixed, *sweep.overrides(raws), "trainer.max_steps=7"]) for raws in points
    ]
    complete = configs.complete
    monkeypatch.setattr(configs, "complete", lambda *arguments: loaded.append(complete(*arguments)))
    checking.check(sweep, points, ["trainer.max_steps=7"])
    assert loaded == expected


def test_many_points_are_checked_in_seconds(path: Path) -> None:
    sweep = read(path, parameters={"seed": {"min": 0, "max": 99_999}})
    points = list(sweep.grid())
    start = time.perf_counter()
    checking.check(sweep, points, [])
    assert time.perf_counter() - start < 20

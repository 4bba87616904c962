import dataclasses
import os
import re
from pathlib import Path

import pytest

from iclgd import config as configs
from iclgd.config import ConfigError
from iclgd.files import FileError, name_for_folder
from iclgd.shipped import find
from tests.conftest import ROOT

ONE_LAYER = ROOT / "configs" / "regression" / "one_layer.yaml"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_is_valid_and_says_what_it_is(path: Path) -> None:
    configs.load(path, may_lack=True)
    assert path.read_text().startswith("# ")


def test_the_tasks_of_text_suit_any_model_which_has_to_be_given() -> None:
    choices = "The embedded model, a folder with a Hugging Face model, a GGUF file, or a model's name on the hub"
    for name in ("agnews", "cb", "mr", "sst2", "sst5", "subj"):
        path = ROOT / "configs" / "text" / f"{name}.yaml"
        with pytest.raises(ConfigError) as caught:
            configs.load(path)
        assert str(caught.value) == f"{path}: give model.name=NAME: {choices}"
    config = configs.load(ROOT / "configs" / "text" / "sst2.yaml", ["model.name=gpt2"])
    shown = config.demonstrations
    assert (config.model.name, config.task.name) == ("gpt2", "sst2")
    assert (shown.separator, shown.overflow, shown.start_token, shown.num) == ("\n", "drop", "auto", 32)


@pytest.mark.parametrize(
    ("name", "learning_rate", "num"),
    [
        *(("sst2", 5e-4, 32), ("sst5", 1.6e-4, 32), ("mr", 3e-3, 32), ("subj", 3e-3, 32)),
        *(("agnews", 0.2, 22), ("cb", 0.08, 19)),
    ],
)
def test_the_published_setting_of_text(name: str, learning_rate: float, num: int) -> None:
    config = configs.load(find("config", f"dai2023/{name}"))
    shown = config.demonstrations
    assert (config.model.name, config.task.name) == ("KoboldAI/fairseq-dense-1.3B", name)
    assert (config.finetune.learning_rate, config.finetune.method) == (learning_rate, "gradient_descent")
    assert (shown.num, shown.separator, shown.overflow, shown.start_token) == (num, "eos", "drop", "always")
    assert (config.evaluation.random_updates, config.evaluation.place) == ("uniform", "first_answer")


def test_one_layer_is_the_published_experiment() -> None:
    config = configs.load(ONE_LAYER)
    assert (config.task.num_context, config.task.input_dim, config.task.input_range) == (10, 10, 1.0)
    assert (config.training.batch_size, config.training.learning_rate, config.training.gradient_clip) == (
        2048,
        1e-3,
        1e-3,
    )
    assert (config.trainer.max_steps, config.model.num_layers, config.model.init_scale) == (5000, 1, 0.002)


def test_overrides_are_typed() -> None:
    config = configs.load(
        ONE_LAYER, ["training.learning_rate=1", "seed=7", "tracking.tags=[a, b]", "model.recurrent=true"]
    )
    assert config.training.learning_rate == 1.0
    assert isinstance(config.training.learning_rate, float)
    assert (config.seed, config.tracking.tags, config.model.recurrent) == (7, ["a", "b"], True)


def test_later_overrides_win() -> None:
    assert configs.load(ONE_LAYER, ["seed=1", "seed=2"]).seed == 2


def test_resolved_config_round_trips(tmp_path: Path) -> None:
    config = configs.load(ONE_LAYER, ["seed=3", "tracking.group=g"])
    saved = tmp_path / "config.yaml"
    saved.write_text(configs.to_yaml(config))
    assert configs.load(saved) == config
    assert configs.to_dict(config)["trainer"]["max_steps"] == 5000


@pytest.mark.parametrize("group", ["\u00ad", "a\u202eb\u0007", "\u2028"])
def test_a_resolved_config_holds_no_character_that_a_terminal_obeys(tmp_path: Path, group: str) -> None:
    config = configs.load(ONE_LAYER, ["seed=3", "model.attention=linear"])
    config = dataclasses.replace(config, tracking=dataclasses.replace(config.tracking, group=group, project="1e3"))
    text = configs.to_yaml(config)
    assert all(line.isprintable() for line in text.split("\n"))
    (tmp_path / "config.yaml").write_text(text)
    assert configs.load(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.num_layer=2", "command line: unknown key model.num_layer; did you mean model.num_layers? "),
        ("modle.num_layers=2", "command line: unknown key modle; did you mean model? Known here: experiment, "),
        ("num_layers=2", "command line: unknown key num_layers; did you mean model.num_layers? Known here: experiment"),
        ("num_layer=2", "command line: unknown key num_layer; did you mean model.num_layers? Known here: experiment, "),
        ("num_tasks=2", "command line: unknown key num_tasks; did you mean evaluation.num_tasks or ana"),
        ("training.num_layers=2", "command line: unknown key training.num_layers; did you mean model.num_layers? "),
        ("quite_different=2", "command line: unknown key quite_different; known here: experiment, "),
        ("model.attention=softmx", "model.attention must be one of: linear, softmax, mixture; got 'softmx'; did you"),
        ("task.name=liner", "task.name must be one of: linear, sine; got 'liner'; did you mean linear?"),
        ("trainer.max_steps=ten", "command line: trainer.max_steps must be a whole number, got 'ten'"),
        ("trainer.max_steps=1.5", "command line: trainer.max_steps must be a whole number, got 1.5"),
        ("training.learning_rate=fast", "command line: training.learning_rate must be a number, got 'fast'"),
        ("model.recurrent=maybe", "command line: model.recurrent must be true or false, got 'maybe'"),
        ("tracking.tags=a", "command line: tracking.tags must be a list, got 'a'"),
        ("model=3", "command line: model must be a group of keys (num_layers, "),
        ("seed=null", "command line: seed must be a whole number, got None"),
        ("seed=-1", "seed must be at least 0, got -1"),
        ("task.num_context=0", "task.num_context must be at least 1, got 0"),
        ("task.input_range=0", "task.input_range must be positive and finite, got 0.0"),
        ("task.weight_scale=nan", "task.weight_scale must be positive and finite, got nan"),
        ("task.num_noise=11", "task.num_noise must be from 0 to task.num_context (10), got 11"),
        ("task.name=cosine", "task.name must be one of: linear, sine; got 'cosine'"),
        ("task.distribution=cauchy", "task.distribution must be one of: uniform, normal, exponential, laplace, mixt"),
        ("task.covariance=full", "task.covariance must be one of: isotropic, diagonal, rotated; got 'full'"),
        ("task.condition_number=3", "task.condition_number must be 1 with task.covariance=isotropic, got 3.0"),
        ("task.normalize=maybe", "command line: task.normalize must be true or false, got 'maybe'"),
        ("model.num_heads=0", "model.num_heads must be at least 1, got 0"),
        ("model.attention=cosine", "model.attention must be one of: linear, softmax, mixture; got 'cosine'"),
("model.clip=10", "model.clip acts between layers: it must be 0 with model.num_layers=1"),
        ("model.positional_encoding=add", "model.positional_encoding must be none with model.tokens=joint"),
        ("model.key_size=wide", "command line: model.key_size must be a whole number or null, got 'wide'"),
        ("training.num_seeds=0", "training.num_seeds must be at least 1, got 0"),
        ("training.schedule=linear", "training.schedule must be one of: constant, cosine, triangle; got 'linear'"),
        ("evaluation.gd_plus_plus=best", "evaluation.gd_plus_plus must be one of: trained, optimal, none; got 'best'"),
        ("analysis.run=[iterate]", "analysis.run must be a list of: out_of_distribution, iterated, which_algorithm"),
        ("analysis.run=[functions]", "analysis.run: functions needs task.name=sine, one layer, one head and"),
        ("analysis.shifts=[colour]", "analysis.shifts must be a list of: input_range"),
        ("task={name: sine, input_dim: 2}", "task.input_dim must be 1 with task.name=sine, got 2"),
        ("model.init_scale=-1", "model.init_scale must be positive and finite, got -1.0"),
        ("training.batch_size=0", "training.batch_size must be at least 1, got 0"),
        ("training.gradient_clip=0", "training.gradient_clip must be positive and finite, got 0.0"),
        ("training.beta2=1", "training.beta2 must be below 1, got 1.0"),
        ("training.weight_decay=-1", "training.weight_decay must be at least 0, got -1.0"),
        ("evaluation.num_tasks=0", "evaluation.num_tasks must be at least 1, got 0"),
        ("evaluation.ridge_lambda=0", "evaluation.ridge_lambda must be positive and finite, got 0.0"),
        ("trainer.max_steps=0", "trainer.max_steps must be at least 1, got 0"),
        ("trainer.precision=8", "trainer.precision must be one of: 32-true, 64-true, bf16-mixed, bf16-true; got '8'"),
        ("trainer.devices=3", "training.batch_size must be a multiple of trainer.devices x trainer.num_nodes (3), got"),
        ("tracking.mode=on", "tracking.mode must be one of: auto, online, offline, disabled; got "),
        ("tracking.project=''", "tracking.project must not be empty"),
        ("experiment=txt", "experiment must be one of: regression, text, few_shot, language_modeling, functions, "),
        ("seed=${nothing}", "command line: seed: '${nothing}': nothing is filled in for ${...}; write the value"),
        ("task.name=${oc.env:HOME}", "command line: task.name: '${oc.env:HOME}': nothing is filled in for ${...}"),
        ("task=[sine]", "command line: task must be a group of keys (name, num_context, "),
        ("task.name=[sine]", "command line: task.name must be text, got ['sine']"),
        ("model=[null]", "command line: model must be a group of keys (num_layers, "),
        ("model.recurrent=7", "command line: model.recurrent must be true or false, got 7"),
        ("seed=!!int x", "command line: seed must be a whole number, got 'x'"),
        ("seed=2024-01-01", "command line: seed must be a whole number, got '2024-01-01'"),
        ("seed=9223372036854775808", "command line: seed must be a whole number of at most 64 bits, got 92233"),
        ("seed=\udcff", "command line: 'seed=\\udcff': not valid YAML (unacceptable character 0xdcff in line 1)"),
        ("tracking.group=\udcff", "command line: tracking.group must be text, got '\\udcff', which has a character"),
        ("task.input_range=1e-300", "task.input_range must be from 1e-06 to 1e+06, got 1e-300"),
        ("model.init_scale=1e-300", "model.init_scale must be from 1e-15 to 1e+15, got 1e-300"),
        ("model.num_layers=100000000", "model.num_layers must be at most 1,000, got 100000000"),
        ("training.batch_size=1000000000000", "training.batch_size must be at most 2,147,483,647, got 1000000000000"),
        ("analysis.run=[iterated, iterated]", "analysis.run has iterated twice"),
        ("analysis.shifts=[]", "analysis.shifts must have at least one of: input_range, "),
        ("seed", "command line: expected key=value, such as model.num_layers=2, got 'seed'"),
        ("=3", "command line: expected key=value, such as model.num_layers=2, got '=3'"),
        ("seed=[", "command line: 'seed=[': not valid YAML ("),
    ],
)  # fmt: skip
def test_bad_values_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        configs.load(ONE_LAYER, [override])
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_gpus_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"trainer\.accelerator=gpu with trainer\.devices=2: found 1 GPUs"):
        configs.load(ONE_LAYER, ["trainer.accelerator=gpu", "trainer.devices=2"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experiment: regression\ntrainer: {max_steps: 1\n", "not valid YAML (line 3, column 1: expected ',' or '}'"),
        ("", "expected keys and values, such as 'experiment: regression'"),
        ("- a\n", "expected keys and values, such as 'experiment: regression'"),
        ("just words\n", "expected keys and values, such as 'experiment: regression'"),
        ("trainer: {max_steps: 1}\n", None),
        ("experiment: regression\n", "trainer is missing (trainer.max_steps has no default)"),
        ("seed: 1\nseed: 2\n", "not valid YAML (line 2, column 1: seed is given twice)"),
        ("a: &a [*a]\n", "not valid YAML (line 1, column 8: a contains itself)"),
        ("seed: &a 1\ntask: {<<: {seed: 1}, seed: 2, seed: 3}\n", "not valid YAML (line 2, column 32: seed is given"),
        (f"a: {'[' * 400}{']' * 400}\n", "not valid YAML (line 1, column 33: more than 30 levels)"),
        ("? [a]\n: 1\n", "not valid YAML (line 1, column 3: a key must be text)"),
        ("experiment: ${experiment}\n", "experiment: '${experiment}': nothing is filled in for ${...}; write the val"),
        ("experiment: regression\ntask: !!set {a}\n", "line 2, column 7: a list or map (!!set) is neither text nor"),
        ("experiment: regression\nnull: 1\n", "unknown key null; known here: experiment, "),
        ("experiment: !!python/name:os.system ''\n", "line 1, column 13: '' (!!python/name:os.system) is neither"),
        (f"experiment: regression\nseed: {'1' * 5000}\n", "seed must be a number of at most 100 digits, got '1111"),
        ("experiment: regression\ntrainer: {devices: 1}\n", "trainer.max_steps is missing"),
        ("experiment: regression\nmodle: 1\n", "unknown key modle; did you mean model?"),
        ("experiment: regression\nnum_layers: 1\n", "unknown key num_layers; did you mean model.num_layers?"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str | None) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        configs.load(path)
    expected = (
        f"{path}: {message}"
        if message
        else "experiment must be one of: regression, text, few_shot, language_modeling, functions, sequences; got None"
    )
    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; did you mean .*one_layer\.yaml"):
        configs.load(ONE_LAYER.with_name("one_layr.yaml"))
    with pytest.raises(ConfigError, match=r"cannot be read .*Is a directory"):
        configs.load(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.yaml: line 1: is not UTF-8 text"):
        configs.load(binary)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.num_layers=2", "analysis.run=[iterated]"], "analysis.run: iterated needs model.num_layers=1"),
        (["task={name: sine, input_dim: 1}", "analysis.run=[iterated]"], "iterated needs task.name=linear, got sine"),
        (["model.tokens=separate", "task={input_dim: 1, output_dim: 2}"], "task.output_dim must be at most"),
        (
            ["model={num_layers: 2, clip: 1.0}", "evaluation.gd_plus_plus=optimal"],
            "evaluation.gd_plus_plus must not be optimal with model.clip",
        ),
        (["model={num_layers: 2, recurrent: true, first_attention: softmax}"], "model.first_attention needs"),
    ],
)
def test_bad_combinations_are_named(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        configs.load(ONE_LAYER, overrides)


WORDS = [
    *("4e05931", "0012345", "2024_01_05", "2024-01-01", "1_000", "1:30", "1e3", "0x10", ".inf"),
    *("yes", "no", "on", "off", "true", "=", "<<", "a:b", "-x"),
]


@pytest.mark.parametrize("word", WORDS)
def test_text_is_what_is_written(tmp_path: Path, word: str) -> None:
    path = tmp_path / "text.yaml"
    path.write_text(f"{ONE_LAYER.read_text()}\ntracking:\n  project: {word}\n  tags: [{word}x, '{word}']\n")
    tracking = configs.load(path, [f"tracking.group={word}"]).tracking
    assert (tracking.project, tracking.tags, tracking.group) == (word, [f"{word}x", word], word)


@pytest.mark.parametrize(
    ("typed", "separator"),
    [
        ("\\n", "\n"),
        ("'\\n'", "\n"),
        ('"\\n"', "\n"),
        ("\\n\\t", "\n\t"),
        (" | ", " | "),
        ("", ""),
        ("null", "null"),
        ("#", "#"),
    ],
)
def test_separators_typed_in_a_shell(typed: str, separator: str) -> None:
    config = configs.load(ROOT / "configs" / "text" / "embedded.yaml", [f"demonstrations.separator={typed}"])
    assert configs.to_dict(config)["demonstrations"]["separator"] == separator


def test_numbers_are_decimal() -> None:
    config = configs.load(ONE_LAYER, ["seed=010", "trainer.max_steps=1_000", "training.learning_rate=1e-3"])
    assert (config.seed, config.trainer.max_steps, config.training.learning_rate) == (10, 1000, 0.001)


def test_aliases_are_no_bomb(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="more than 20,000 values"):
        configs.load(path)


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="expected a regular file"):
            configs.load(path)
    (tmp_path / "large.yaml").write_bytes(b"#" * 2**20 + b"\n")
    with pytest.raises(ConfigError, match="is larger than 1,048,576 bytes"):
        configs.load(tmp_path / "large.yaml")


@pytest.mark.parametrize("name", ["...yaml", ".yaml", "a\nb.yaml", "\x1b[31m.yaml", "x" * 201 + ".yaml"])
def test_results_stay_below_their_folder(tmp_path: Path, name: str) -> None:
    assert name_for_folder(tmp_path / "[red]x[1] y.yaml") == "[red]x[1] y"
    with pytest.raises(FileError, match="results go to a folder of its name"):
        name_for_folder(tmp_path / name)

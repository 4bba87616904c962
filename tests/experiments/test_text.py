"""Whole runs of the comparison of in-context learning with finetuning, on random models."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import normalizers
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    MptConfig,
    MptForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
)

from iclgd.runs.run import load_run
from iclgd.tracking.run_directory import RunDirectory
from tests.forked import Forked
from tests.language_models import (
    LAYERS,
    LONG_ANSWERS,
    VOCABULARY,
    random_model,
    save,
    task_rows,
    tiny_model,
    tiny_tokenizer,
    write_task,
)
from tests.processes import free_address

Cli = Callable[..., tuple[int, str, str]]
NUM_QUERIES = 23  # that the task has
UNSTEADY = {"queries_per_second", "peak_memory_bytes"}
DRAWS_AND_SEARCH = [
    *("demonstrations.num_draws=2", "finetune.learning_rate=search"),
    "finetune.search={learning_rates: [0.03, 0.1, 0.3], num_rows: 8}",
]
WHOLE = ["accuracy/zero_shot", "accuracy/in_context", "accuracy/finetuned", "rec2ftp", "put_right"]
WHOLE += [f"next_token_{kind}{which}" for kind in ("overlap", "total_variation") for which in ("", "_zero_shot")]
BY_LAYER = [
    "sim_aou",
    "sim_aou_random",
    "sim_am",
    "sim_am_zero_shot",
    "sim_am_delta",
    "kendall",
    "kendall_random",
    "kendall_examples",
    "kendall_examples_random",
    "kendall_examples_length",
    "top_tokens",
    "top_tokens_random",
    "top_examples",
    "top_examples_random",
    "update_similarity",
    "attention_demonstrations",
    "attention_demonstrations_even",
    "attention_query",
    "attention_start",
    "attention_right_label",
    "attention_right_label_even",
    "attention_right_label_gain",
]
ALL = [*WHOLE, *BY_LAYER]
EXPECTED = {f"{name}{bound}" for name in ALL for bound in ("", "_low", "_high")} | {
    f"{name}/layer_{index:02d}" for name in BY_LAYER for index in range(LAYERS)
}
EXPECTED |= {"rec2ftp_queries"}  # a count, without an interval


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return write_task(tmp_path)


@pytest.fixture
def config(tmp_path: Path, task: Path) -> Path:
    save(tmp_path / "gpt2", tiny_model("gpt2"), tiny_tokenizer())
    path = tmp_path / "small.yaml"
    path.write_text(
        f"experiment: text\n"
        f"model: {{name: {tmp_path / 'gpt2'}}}\n"
        f"task: {{name: {task}}}\n"
        "demonstrations: {num: 6}\n"
        "finetune: {learning_rate: 0.1}\n"
        "evaluation: {num_replicates: 20}\n"
        "trainer: {accelerator: cpu}\n"
        "tracking: {mode: disabled}\n"
    )
    return path


def run_directory(out: str) -> RunDirectory:
    return RunDirectory(Path(out.splitlines()[-1]))


def summary(result: tuple[int, str, str]) -> dict[str, float]:
    """Return a run's numbers but for its speed and memory."""
    code, out, err = result
    assert code == 0, err
    found = run_directory(out).read_summary()
    assert found is not None
    assert found["queries_per_second"] > 0
    assert found["peak_memory_bytes"] > 1e6
    return {name: value for name, value in found.items() if name not in UNSTEADY}


def controls(*names: str) -> str:
    return f"evaluation.controls=[{','.join(names)}]"


def test_a_run_leaves_the_whole_summary(cli: Cli, config: Path) -> None:
    result = cli("run", config)
    found = summary(result)
    assert found.keys() == EXPECTED
    assert "Traceback" not in result[2]
    for name, value in found.items():
        assert math.isfinite(value), name
        if name.startswith(("accuracy", "top_", "put_right", "attention")) and "gain" not in name:
            assert 0 <= value <= 1
        elif not name.startswith("rec2ftp"):
            assert -1 <= value <= 1
    for name in ALL:
        assert found[f"{name}_low"] <= found[name] + 1e-6
        assert found[name] <= found[f"{name}_high"] + 1e-6
    for name in BY_LAYER:
        layers = [found[f"{name}/layer_{index:02d}"] for index in range(LAYERS)]
        assert sum(layers) / LAYERS == pytest.approx(found[name], abs=1e-6)
    directory = run_directory(result[1])
    assert (directory.path / "config.yaml").exists()
    assert json.loads((directory.path / "environment.json").read_text())["world_size"] == 1
    assert not list(directory.path.rglob("*.ckpt"))
    assert len(load_run(directory.path).predictions) == 3 * NUM_QUERIES


def correct(rows: list[dict[str, Any]], control: str | None, setting: str) -> dict[int, bool]:
    """Return whether each query is answered correctly, from the rows of ``predictions.jsonl`` alone."""
    chosen = [row for row in rows if (row["control"], row["setting"]) == (control, setting)]
    assert [row["query"] for row in chosen] == list(range(NUM_QUERIES))
    for row in chosen:
        assert row["choice"] == max(row["scores"], key=row["scores"].get)
    return {row["query"]: row["choice"] == row["label"] for row in chosen}


def check_predictions(directory: RunDirectory, controls: tuple[str | None, ...]) -> list[dict[str, Any]]:
    """Compare the numbers that rest on answers with those in the summary."""
    rows, found = load_run(directory.path).predictions, directory.read_summary()
    assert found is not None
    assert len(rows) == 3 * NUM_QUERIES * len(controls)
    for control in controls:
        prefix = f"{control}/" if control else ""
        zero_shot, in_context, finetuned = (
            correct(rows, control, setting) for setting in ("zero_shot", "in_context", "finetuned")
        )
        for setting, right in (("zero_shot", zero_shot), ("in_context", in_context), ("finetuned", finetuned)):
            assert found[f"{prefix}accuracy/{setting}"] == sum(right.values()) / NUM_QUERIES
        put_right = [query for query in zero_shot if finetuned[query] and not zero_shot[query]]
        assert found[f"{prefix}rec2ftp_queries"] == len(put_right)
        if put_right:
            recalled = sum(in_context[query] for query in put_right)
            assert found[f"{prefix}rec2ftp"] == 100 * recalled / len(put_right)
    return rows


def test_numbers_can_be_computed_again_from_the_predictions(cli: Cli, config: Path) -> None:
    directory = run_directory(cli("run", config, controls("shuffled_labels"), "evaluation.batch_size=5")[1])
    rows = check_predictions(directory, (None, "shuffled_labels"))
    assert rows[0]["text"].startswith("Day: ")
    assert set(rows[0]["scores"]) == {"bad", "good"}
    before, whole = (directory.path / "predictions.jsonl").read_bytes(), directory.read_summary()
    (directory.path / "predictions.jsonl").write_bytes(before[:-40])
    code, _, err = cli("resume", directory.path)
    assert code == 0, err
    assert "predictions.jsonl: damaged (not the checksum that environment.json has); made again" in err
    assert (directory.path / "predictions.jsonl").read_bytes() == before
    assert whole is not None
    assert numbers_but_speed(directory.read_summary()) == numbers_but_speed(whole)


def numbers_but_speed(found: dict[str, float] | None) -> dict[str, float]:
    assert found is not None
    return {name: value for name, value in found.items() if name not in UNSTEADY}


def test_without_replicates_there_are_no_intervals(cli: Cli, config: Path) -> None:
    found = summary(cli("run", config, "evaluation.num_replicates=0"))
    assert found.keys() == {name for name in EXPECTED if not name.endswith(("_low", "_high"))}


@pytest.mark.parametrize(
    ("name", "answers"), [("gpt2", None), ("mistral", LONG_ANSWERS), ("xglm", LONG_ANSWERS)], ids=str
)
def test_batch_sizes_change_nothing(
    cli: Cli, config: Path, tmp_path: Path, name: str, answers: list[str] | None
) -> None:
    overrides = []
    if name != "gpt2":
        # A window shorter than the context, but longer than queries: what sees no context has no update to compare.
        window = {"sliding_window": 64} if name == "mistral" else {}
        overrides.append(f"model.name={save(tmp_path / name, tiny_model(name, **window), tiny_tokenizer())}")
    if answers is not None:
        overrides.append(f"task.name={write_task(tmp_path, 'other', answers=answers)}")
    expected, *others = (
        summary(cli("run", config, *overrides, f"evaluation.batch_size={size}")) for size in (64, 7, 1)
    )
    for other in others:
        for key, value in expected.items():
            assert other[key] == pytest.approx(value, abs=1e-5, nan_ok=True), key


def test_same_seed_same_numbers_other_seed_other_numbers(cli: Cli, config: Path) -> None:
    first, again, other, others = (
        summary(cli("run", config, *seed, controls("untrained", "shuffled_labels"), "task.num_queries=12"))
        for seed in (["seed=1"], ["seed=1"], ["seed=2"], ["seed=1", "demonstrations.seed=2"])
    )
    assert first == again
    changed = {name for name in first if first[name] != other[name]}
    assert {"sim_aou_random", "kendall_random", "untrained/sim_aou"} <= changed
    assert not {"sim_aou", "kendall", "shuffled_labels/sim_aou", "accuracy/in_context"} & changed
    assert others["sim_aou"] != first["sim_aou"]
    assert others["accuracy/zero_shot"] == first["accuracy/zero_shot"]


def test_controls_have_their_prefixes_and_share_the_model(cli: Cli, config: Path, tmp_path: Path) -> None:
    other = write_task(tmp_path, "other", answers=["warm", "cold", "neither"], template="Is {text} warm?")
    names = ("untrained", "shuffled_labels", "other_task")
    alone = summary(cli("run", config))
    found = summary(cli("run", config, controls(*names), f"evaluation.other_task={other}"))
    of_controls = {f"{name}/{key}" for name in names for key in EXPECTED}
    without = {key for key in of_controls if key.startswith("other_task/attention_right_label")}  # other answers
    assert found.keys() == EXPECTED | of_controls - without
    assert {key: found[key] for key in EXPECTED} == pytest.approx(alone, abs=1e-6)
    for key in ("accuracy/zero_shot", "accuracy/zero_shot_low", "accuracy/zero_shot_high"):
        assert found[key] == found[f"shuffled_labels/{key}"] == found[f"other_task/{key}"]
    for name in names:
        assert found[f"{name}/sim_aou"] != found["sim_aou"]
    assert found["untrained/sim_am"] != found["shuffled_labels/sim_am"]


def test_another_tasks_data_may_be_below_the_data_folder(cli: Cli, config: Path, tmp_path: Path) -> None:
    write_task(tmp_path, "weather")
    other = write_task(tmp_path, "other", answers=["warm", "cold"])
    (tmp_path / "weather-data" / "other").mkdir()
    for file in (tmp_path / "other-data").iterdir():
        file.rename(tmp_path / "weather-data" / "other" / file.name)
    arguments = [controls("other_task"), f"evaluation.other_task={other}", f"task.data_dir={tmp_path / 'weather-data'}"]
    assert "other_task/sim_aou" in summary(cli("run", config, *arguments))


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("gpt_neox", "finetune.method=layer_causal"),
        ("gpt2", "trainer.precision=bf16-true"),
        ("gpt2", "trainer.precision=bf16-mixed"),
    ],
)
def test_methods_and_precisions_run(cli: Cli, config: Path, tmp_path: Path, name: str, override: str) -> None:
    folder = save(tmp_path / name, tiny_model(name), tiny_tokenizer())
    expected = summary(cli("run", config, f"model.name={folder}"))
    found = summary(cli("run", config, f"model.name={folder}", override))
    assert found.keys() == EXPECTED
    assert all(math.isfinite(value) for name, value in found.items() if not name.startswith("rec2ftp"))
    assert found["sim_aou"] != expected["sim_aou"]
    if "precision" in override:  # the same but for the rounding
        assert found["sim_am"] == pytest.approx(expected["sim_am"], abs=0.05)
        assert found["update_similarity"] == pytest.approx(expected["update_similarity"], abs=0.05)


def test_double_precision_is_near_single(cli: Cli, config: Path) -> None:
    single, double = (summary(cli("run", config, f"trainer.precision={bits}-true")) for bits in (32, 64))
    for name in ("sim_aou", "sim_am", "kendall_examples", "update_similarity", "accuracy/in_context"):
        assert double[name] == pytest.approx(single[name], abs=1e-4)


def test_dropped_demonstrations_are_noted(cli: Cli, config: Path) -> None:
    result = cli("run", config, "demonstrations={num: 30, overflow: drop}")
    summary(result)
    assert "note: demonstrations.num=" in result[2]
    assert "the last ones are dropped" in result[2]


def test_two_processes_give_the_numbers_of_one(cli: Cli, config: Path, tmp_path: Path) -> None:
    changes = [*DRAWS_AND_SEARCH, "demonstrations.num_orders=3"]
    command = ["run", config, controls("untrained", "shuffled_labels"), *changes]
    expected = summary(cli(*command))
    assert expected["order_sensitivity/in_context"] > 1e-3
    command += ["trainer.devices=2", "trainer.strategy=ddp"]
    address = free_address()
    (code, out, err), second = (
        process.result() for process in [Forked(*command, LOCAL_RANK=str(rank), **address) for rank in range(2)]
    )
    assert code == 0, err
    assert second[:2] == (0, ""), second
    two = run_directory(out)
    assert json.loads((two.path / "environment.json").read_text())["world_size"] == 2
    assert len(list((tmp_path / "runs" / "small").iterdir())) == 2  # one directory for both processes
    rows = load_run(two.path).predictions
    assert len(rows) == 2 * 3 * 3 * NUM_QUERIES  # draws, controls, settings
    (one,) = {path for path in (tmp_path / "runs" / "small").iterdir() if path != two.path}
    for row, alone in zip(rows, load_run(one).predictions, strict=True):
        for name in ("scores", "likeness"):
            assert row.get(name) == pytest.approx(alone.get(name), abs=1e-5)
        assert {**row, "scores": None, "likeness": None} == {**alone, "scores": None, "likeness": None}
    records = [of.read_analyses()["attention_to_demonstrations"]["draws"] for of in (two, RunDirectory(one))]
    assert len(records[0]) == 2
    for draws in zip(*records, strict=True):
        for kind in ("attention", "even"):
            both = [np.array(draw[kind]["demonstrations"]) for draw in draws]
            assert both[0] == pytest.approx(both[1], abs=1e-5)
            assert both[0].shape == (LAYERS, 6)
    assert two.read_metrics() == [pytest.approx(line, abs=1e-5) for line in RunDirectory(one).read_metrics()]
    assert summary((0, out, err)) == pytest.approx(expected, abs=1e-5, nan_ok=True)


def refused(cli: Cli, tmp_path: Path, *arguments: object) -> str:
    """Return the one line that a mistake is answered with; nothing has been written."""
    code, out, err = cli("run", *arguments)
    assert code == 2, err
    assert out == ""
    assert err.startswith("iclgd: ")
    assert err.count("\n") == 1, err
    assert not (tmp_path / "runs").exists()
    return err


def test_prompts_that_are_too_long_are_refused(cli: Cli, config: Path, tmp_path: Path) -> None:
    message = refused(cli, tmp_path, config, "demonstrations.num=30")
    assert "30 demonstrations have" in message
    assert "the model's limit is 512; set demonstrations.num=" in message
    long = write_task(tmp_path, "long", validation=[{"text": "rain " * 300, "label": 0}])
    assert "too long even without demonstrations" in refused(cli, tmp_path, config, f"task.name={long}")


def test_overlong_queries_are_left_out_of_all_draws_and_controls_and_counted(
    cli: Cli, config: Path, tmp_path: Path
) -> None:
    rows = task_rows(10)
    mixed = [*rows[:4], {"text": "rain " * 90, "label": 0}, *rows[4:], {"text": "wind " * 100, "label": 1}]
    other = write_task(
        tmp_path, "other", train=task_rows(30, text=lambda index: f"{'sun ' * 9} {index}"), answers=["no", "yes"]
    )
    keys = [
        *("demonstrations.num=6", "demonstrations.num_draws=2", "evaluation.num_replicates=0"),
        *("evaluation.controls=[shuffled_labels,other_task]", f"evaluation.other_task={other}"),
    ]
    found = []
    for name, validation, overlong in (("all", mixed, "drop"), ("short", rows, "refuse")):
        task = write_task(tmp_path, name, validation=validation)
        overrides = [*keys, f"task.name={task}", f"task.overlong={overlong}"]
        if name == "short":  # of the other task fewer are shown
            code, out, err = cli("run", config, *overrides, "demonstrations.overflow=drop")
        else:
            code, out, err = cli("run", config, *overrides)
            assert "note: task.overlong=drop: 2 of 12 queries are left out" in err
            assert "5 of 10" in (shown := cli("show-prompt", config, *overrides, "--query", 5))[1]
            assert "note: task.overlong=drop: 2 of 12 queries are left out" in shown[2]
        assert code == 0, err
        run = load_run(Path(out.splitlines()[-1]))
        found.append(({**run.summary}, [{**row, "text": row["text"]} for row in run.predictions]))
    (all_of_them, asked), (short, expected) = found
    assert all_of_them.pop("overlong_queries") == 2
    assert asked == expected
    for name in short.keys() - UNSTEADY:
        assert all_of_them[name] == pytest.approx(short[name], abs=1e-6, nan_ok=True), name


def test_more_demonstrations_than_rows_are_refused(cli: Cli, config: Path, tmp_path: Path) -> None:
    message = refused(cli, tmp_path, config, "demonstrations.num=31")
    assert message == "iclgd: demonstrations.num must be at most 30, the training rows there are; got 31\n"


def test_answers_with_equal_tokens_are_refused(cli: Cli, config: Path, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    folder = save(tmp_path / "lower", tiny_model("gpt2"), tokenizer)
    task = write_task(tmp_path, "same", answers=["good", "Good"])
    message = refused(cli, tmp_path, config, f"task.name={task}", f"model.name={folder}")
    assert message == "iclgd: same: the answers 'good' and 'Good' have the same tokens\n"


def test_a_class_without_rows_cannot_be_balanced(cli: Cli, config: Path, tmp_path: Path) -> None:
    rows = [{**row, "label": 0} for row in task_rows(30)]
    task = write_task(tmp_path, "one_sided", train=rows)
    message = refused(cli, tmp_path, config, f"task.name={task}", "demonstrations.selection=balanced")
    assert "demonstrations.selection=balanced needs 3 training rows with the answer 'good', but there are 0" in message


REASONS = {
    "mpt": "has 0 attention layers whose key and value projections are known, not the 2 of its config",
    "openai-gpt": "cannot be watched: its attention does not go through transformers' registry of attention functions",
}


def test_models_whose_attention_is_unknown_are_refused(cli: Cli, config: Path, tmp_path: Path) -> None:
    sizes = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    models = {
        "mpt": random_model(MptForCausalLM, MptConfig(d_model=32, n_layers=2, n_heads=4, **sizes)),
        "openai-gpt": random_model(OpenAIGPTLMHeadModel, OpenAIGPTConfig(n_embd=32, n_layer=2, n_head=4, **sizes)),
    }
    for name, model in models.items():
        folder = save(tmp_path / name, model, tiny_tokenizer())
        message = refused(cli, tmp_path, config, f"model.name={folder}")
        assert message.startswith(f"iclgd: model.name={folder}: {type(model).__name__} {REASONS[name]}"), message


CONFIGS_WITHOUT_HEADS: dict[str, Any] = {
    "mamba": {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": VOCABULARY},
}


def test_a_model_that_cannot_be_run_in_a_precision_is_refused(cli: Cli, config: Path, tmp_path: Path) -> None:
    save(tmp_path / "xglm", tiny_model("xglm"))
    tiny_tokenizer().save_pretrained(tmp_path / "xglm")
    message = refused(cli, tmp_path, config, f"model.name={tmp_path / 'xglm'}", "trainer.precision=64-true")
    assert message.startswith(f"iclgd: model.name={tmp_path / 'xglm'}: XGLMForCausalLM cannot be run as is needed (")


def test_models_without_attention_are_refused(cli: Cli, config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mamba"
    tiny_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(CONFIGS_WITHOUT_HEADS["mamba"]))
    message = refused(cli, tmp_path, config, f"model.name={folder}", "model.untrained=true")
    assert message.startswith(f"iclgd: model.name={folder}: MambaForCausalLM has ")


def test_tasks_with_mistakes_are_refused(cli: Cli, config: Path, tmp_path: Path) -> None:
    unknown_field = write_task(tmp_path, "field", template="Day: {weather} It is")
    message = refused(cli, tmp_path, config, f"task.name={unknown_field}")
    assert "line 1: field 'weather' is missing; it has: text, label" in message
    outside = write_task(tmp_path, "outside", train=[*task_rows(30), {"text": "fog", "label": 2}])
    message = refused(cli, tmp_path, config, f"task.name={outside}")
    assert "line 31: field 'label' must be 0 to 1 or one of bad, good; got 2" in message
    no_field = write_task(tmp_path, "none", template="Day:")
    assert "has no field" in refused(cli, tmp_path, config, f"task.name={no_field}")
    assert "no such file" in refused(cli, tmp_path, config, f"task.name={tmp_path / 'absent.yaml'}")
    assert "did you mean sst2?" in refused(cli, tmp_path, config, "task.name=sst-2")


def test_the_other_task_is_another(cli: Cli, config: Path, tmp_path: Path, task: Path) -> None:
    for same in (task, f"{tmp_path}/../{tmp_path.name}/weather.yaml"):
        message = refused(cli, tmp_path, config, controls("other_task"), f"evaluation.other_task={same}")
        assert "evaluation.other_task must be another task than task.name; got " in message
    copy = tmp_path / "copy.yaml"
    copy.write_text(task.read_text())
    message = refused(cli, tmp_path, config, controls("other_task"), f"evaluation.other_task={copy}")
    assert "both have the same content" in message


def test_without_internet_and_copy_one_line_says_so(
    cli: Cli, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("iclgd.data.hub_rows.connection_problem", lambda: "no connection to the hub: offline")
    message = refused(cli, tmp_path, config, "task.name=sst2")
    assert "sst2: not found locally and " in message
    assert "no connection to the hub" in message
    assert "give task.data_dir=FOLDER with train and validation data (.jsonl, .csv" in message
    message = refused(cli, tmp_path, config, "model.name=nobody/nothing")
    assert "nobody/nothing is no folder, and no " in message


def test_an_unknown_model_folder_has_a_hint(cli: Cli, config: Path, tmp_path: Path) -> None:
    message = refused(cli, tmp_path, config, f"model.name={tmp_path / 'gtp2'}")
    assert f"did you mean {tmp_path / 'gpt2'}?" in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("evaluation.other_task=cb", "evaluation.other_task goes with evaluation.controls=[other_task]"),
        ("evaluation.controls=[other_task]", "evaluation.other_task goes with evaluation.controls=[other_task]"),
        ("evaluation.controls=[none]", "evaluation.controls must be a list of: untrained, shuffled_labels, other_task"),
        (
            "evaluation.controls=[untrained, untrained]",
            "evaluation.controls has untrained twice",
        ),
        ("demonstrations.start_token=bos", "demonstrations.start_token must be one of: auto, always, never; got 'bos'"),
        ("finetune.learning_rate=fast", "finetune.learning_rate"),
        ("finetune.learning_rate=1e39", "finetune.learning_rate must be from 1.2e-38 to 3.4e+38, got 1e+39"),
        ("finetune.learning_rate=-1", "finetune.learning_rate must be positive and finite, got -1"),
        ("finetune.method=adam", "finetune.method must be one of: gradient_descent, layer_causal; got 'adam'"),
        ("demonstrations.num=many", "demonstrations.num"),
        ("demonstrations.num=0", "demonstrations.num must be at least 1, got 0"),
        ("evaluation.batch_size=1.5", "evaluation.batch_size"),
        ("evaluation.controls=untrained", "evaluation.controls"),
        ("model=gpt2", "model"),
        ("model.untrained=perhaps", "model.untrained"),
        ("model.nmae=gpt2", "nmae"),
        ("task.num_queries=0", "task.num_queries must be at least 1, got 0"),
        ("trainer.precision=16", "trainer.precision"),
        ("trainer.max_steps=10", "max_steps"),
        ("seed=-1", "seed must be at least 0, got -1"),
    ],
)
def test_mistakes_in_the_config_are_one_line(
    cli: Cli, config: Path, tmp_path: Path, override: str, expected: str
) -> None:
    assert expected in refused(cli, tmp_path, config, override)


def test_a_tokenizer_of_another_model_is_refused(cli: Cli, config: Path, tmp_path: Path) -> None:
    save(tmp_path / "small", tiny_model("gpt2", vocab_size=VOCABULARY // 4))
    message = refused(cli, tmp_path, config, f"model={{name: {tmp_path / 'small'}, tokenizer: {tmp_path / 'gpt2'}}}")
    assert "token" in message


def test_finetune_must_be_given(cli: Cli, config: Path, tmp_path: Path) -> None:
    lines = [line for line in config.read_text().splitlines() if not line.startswith("finetune")]
    config.write_text("\n".join(lines))
    assert "finetune" in refused(cli, tmp_path, config)
    config.write_text("\n".join([*lines, "finetune: {method: layer_causal}"]))
    assert "finetune.learning_rate" in refused(cli, tmp_path, config)


def test_queries_must_be_enough_for_all_processes(cli: Cli, config: Path, tmp_path: Path) -> None:
    message = refused(cli, tmp_path, config, "task.num_queries=1", "trainer.devices=2", "trainer.strategy=ddp")
    assert "task.num_queries must be at least trainer.devices x trainer.num_nodes (2), got 1" in message


def test_a_readout_that_is_not_plain_is_refused(cli: Cli, config: Path, tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
    cohere = CohereConfig(**sizes, vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=1, pad_token_id=2)
    folder = save(tmp_path / "cohere", random_model(CohereForCausalLM, cohere), tiny_tokenizer())
    message = refused(cli, tmp_path, config, f"model.name={folder}", "finetune.method=layer_causal")
    assert message == "iclgd: finetune.method=layer_causal: CohereForCausalLM has no plain readout of its layers\n"
    summary(cli("run", config, f"model.name={folder}"))

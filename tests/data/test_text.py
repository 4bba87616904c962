import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from iclgd.data import hub_rows, json_lines
from iclgd.data.row_files import DATA
from iclgd.data.text import (
    MAX_NUM_QUERIES,
    TASKS_FOLDER,
    TextExample,
    TextSource,
    TextTask,
    TextTaskConfig,
    TextTaskError,
    choose_queries,
    load_examples,
    load_task,
    text_task_names,
)

TASK: dict[str, Any] = {
    "version": 1,
    "description": "toy",
    "template": "Say: {text} Mood:",
    "answers": ["sad", "happy"],
    "source": {"data_dir": "data"},
}
SAD, HAPPY = {"text": "rain", "label": 0}, {"text": "sun", "label": 1}


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[..., Path]:
    def write(without: str = "", **keys: Any) -> Path:
        path = tmp_path / "toy.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in (TASK | keys).items() if key != without}))
        return path

    return write


@pytest.fixture
def toy(write_task: Callable[..., Path]) -> TextTask:
    return load_task(str(write_task()))


def write_rows(folder: Path, *values: Any, split: str = "train") -> str:
    folder.mkdir(exist_ok=True, parents=True)
    lines = [value if isinstance(value, str) else json.dumps(value) for value in values]
    (folder / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(folder)


def message(action: Callable[..., Any], *arguments: Any, **keys: Any) -> str:
    with pytest.raises(TextTaskError) as error:
        action(*arguments, **keys)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_shipped_tasks_are_those_of_the_paper() -> None:
    expected = {
        "sst2": ("Sentence: {text} Label:", "Negative Positive"),
        "sst5": ("Sentence: {text} Label:", "terrible bad neutral good great"),
        "mr": ("Review: {text} Sentiment:", "Negative Positive"),
        "subj": ("Input: {text} Type:", "objective subjective"),
        "agnews": (
            "Classify the news articles into the categories of World, Sports, Business, and Technology. "
            "Article: {text} Answer:",
            "World Sports Business Technology",
        ),
        "cb": ("{premise} Question: {hypothesis}. True, False, or Neither? Answer:", "True False Neither"),
    }
    assert set(expected) <= set(text_task_names())
    for name, (template, answers) in expected.items():
        task = load_task(name)
        assert (task.name, task.template, task.answers) == (name, template, tuple(answers.split()))
        assert task.source.splits["train"] == "train"
        assert task.source.splits["validation"] == ("test" if name in ("subj", "agnews") else "validation")


@pytest.mark.parametrize("name", text_task_names())
def test_shipped_tasks_load(name: str) -> None:
    task = load_task(name)
    prompt = task.prompt(TextExample(dict.fromkeys(task.fields, "some text"), 0))
    assert "some text" in prompt
    assert prompt.endswith(task.tail)
    if task.source.data_dir is not None:
        assert TASKS_FOLDER in Path(task.source.data_dir).parents
        assert load_examples(task, "train", None)


@pytest.mark.parametrize(
    ("template", "fields", "tail"),
    [
        ("{text} Label:", ("text",), "Label:"),
        ("{a} and {b}", ("a", "b"), ""),
        ("Is {a} {b}? {a}. {{yes}} Answer:", ("a", "b"), ". {yes} Answer:"),
    ],
)
def test_the_tail_is_what_every_prompt_ends_with(template: str, fields: tuple[str, ...], tail: str) -> None:
    task = TextTask("toy", 1, "toy", template, ("x", "y"), TextSource(path="a/b"))
    assert task.fields == fields
    assert task.tail == tail
    assert task.prompt(TextExample(dict.fromkeys(fields, "{odd} text"), 0)).endswith(tail)


def test_unknown_tasks_are_named_with_the_known_ones() -> None:
    names = ", ".join(text_task_names())
    rest = f"Tasks: {names}; or a path that ends in .yaml, or lm-eval:NAME"
    assert message(load_task, "sts2") == f"unknown task 'sts2'; did you mean sst2? {rest}"
    for name in ("", "../tasks/sst2", "x" * 300):
        assert message(load_task, name) == f"unknown task {name!r}; {rest}"


def test_task_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    assert message(load_task, str(path)) == f"{path}: no such file"
    path.write_text("answers: [")
    assert message(load_task, str(path)).startswith(f"{path}: not valid YAML (line 1, column 11: expected the node")
    path.write_bytes(b"\xff")
    assert message(load_task, str(path)) == f"{path}: line 1: is not UTF-8 text"
    path.write_text("just text")
    assert message(load_task, str(path)).startswith(f"{path}: a task must have keys and values (version, description,")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"anwsers": 1},
            "unknown key anwsers; known here: version, description, template, answers, source, label, "
            "choices, choice_names, delimiter",
        ),
        ({"without": "template"}, "key template is missing"),
        ({"version": "one"}, "version must be a whole number from 1, got 'one'"),
        ({"version": 0}, "version must be a whole number from 1, got 0"),
        ({"description": ""}, "description must be a text that is not empty, got ''"),
        ({"answers": "yes"}, "answers must be a list of texts (in quotes if need be), got 'yes'"),
        ({"answers": [True, False]}, "answers must be a list of texts (in quotes if need be), got (True, False)"),
        ({"answers": ["yes"]}, "answers must be at least two, got ['yes']"),
        ({"answers": ["yes", "no", "yes"]}, "answers must differ, but 'yes' occurs 2 times"),
        ({"answers": ["yes", " no"]}, "answers must be texts without white space around them, got ' no'"),
        ({"template": "Say:"}, "template 'Say:' has no field, such as {text}"),
        ({"template": "{text"}, "template '{text' has unbalanced braces (expected '}' before end of string)"),
        ({"template": "{}:"}, "template '{}:': expected a field such as {text}, got {}"),
        ({"template": "{0}:"}, "template '{0}:': expected a field such as {text}, got {0}"),
        ({"template": "{text:>9}:"}, "template '{text:>9}:': expected a field such as {text}, got {text}"),
        ({"template": "{text.x}:"}, "template '{text.x}:': expected a field such as {text}, got {text.x}"),
        ({"template": "{text!r}:"}, "template '{text!r}:': expected a field such as {text}, got {text}"),
        ({"template": "{text} {label}"}, "template '{text} {label}' must not contain the label, {label}"),
        ({"template": "{text}: "}, "template '{text}: ' must not end with white space: the answer brings its own"),
        ({"source": None}, "source must have keys and values (path, config, splits, rename, data_dir)"),
        ({"source": {"folder": "x"}}, "unknown key source.folder; known here: path, config, splits, rename, data_dir"),
        ({"source": {}}, "source must have either path (a data set on the hub) or data_dir (a folder)"),
        (
            {"source": {"path": "a/b", "data_dir": "x"}},
            "source must have either path (a data set on the hub) or data_dir (a folder)",
        ),
        ({"source": {"path": 3}}, "source.path must be a text that is not empty, got 3"),
        (
            {"source": {"path": "a/b", "splits": {"train": "train"}}},
            "source.splits must have the keys train and validation, got ['train']",
        ),
        ({"source": {"path": "a/b", "rename": ["x"]}}, "source.rename must map names to names, got ['x']"),
    ],
)
def test_bad_tasks_are_refused(write_task: Callable[..., Path], keys: dict[str, Any], expected: str) -> None:
    path = write_task(**keys)
    assert message(load_task, str(path)) == f"{path}: {expected}"


def test_examples_come_from_lines(toy: TextTask, tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "elsewhere", SAD, "", {"text": " a\u2028b ", "label": "happy", "more": 1})
    assert load_examples(toy, "train", folder) == [
        TextExample({"text": "rain"}, 0),
        TextExample({"text": "a\u2028b"}, 1),
    ]


def test_folders_are_found(toy: TextTask, tmp_path: Path) -> None:
    write_rows(tmp_path / "data", HAPPY)  # beside the task's file, which says data_dir: data
    assert load_examples(toy, "train", None)[0].label == 1
    write_rows(tmp_path / "all" / "toy", SAD)
    assert load_examples(toy, "train", str(tmp_path / "all"))[0].label == 0
    write_rows(tmp_path / "all", HAPPY, split="validation")  # the folder itself comes first, for both splits
    assert load_examples(toy, "validation", str(tmp_path / "all"))[0].label == 1
    assert message(load_examples, toy, "train", str(tmp_path / "all")) == (
        f"{tmp_path}/all: has no train data; expected {DATA}"
    )
    assert message(load_examples, toy, "train", str(tmp_path / "none")) == (
        f"{tmp_path}/none: neither it nor {tmp_path}/none/toy is a folder with {DATA}"
    )


def test_fields_are_renamed(write_task: Callable[..., Path], tmp_path: Path) -> None:
    task = load_task(str(write_task(source={"data_dir": "data", "rename": {"sentence": "text"}})))
    write_rows(tmp_path / "data", {"sentence": "rain", "label": 0}, {"sentence": "not me", "text": "sun", "label": 1})
    assert [example.fields["text"] for example in load_examples(task, "train", None)] == ["rain", "sun"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"text": }', ", column 10: not valid JSON (Expecting value)"),
        ("[1]", ': expected an object, such as {"text": "...", "label": 0}, got [1]'),
        ({"sentence": "x", "label": 0}, ": field 'text' is missing; it has: sentence, label"),
        ({"text": "x"}, ": field 'label' is missing; it has: text"),
        ({"text": " ", "label": 0}, ": field 'text' must be a text that is not empty, got ' '"),
        ({"text": None, "label": 0}, ": field 'text' must be a text that is not empty, got None"),
        ({"text": "x", "label": 2}, ": field 'label' must be 0 to 1 or one of sad, happy; got 2"),
        ({"text": "x", "label": -1}, ": field 'label' must be 0 to 1 or one of sad, happy; got -1"),
        ({"text": "x", "label": True}, ": field 'label' must be 0 to 1 or one of sad, happy; got True"),
        ({"text": "x", "label": "Sad"}, ": field 'label' must be 0 to 1 or one of sad, happy; got 'Sad'"),
        ({"text": "x", "label": 0.5}, ": field 'label' must be 0 to 1 or one of sad, happy; got 0.5"),
        ('{"text": "x", "label": 1e400}', ": field 'label' must be 0 to 1 or one of sad, happy; got inf"),
        ({"text": 7, "label": 0}, ": field 'text' must be a text that is not empty, got 7"),
        (
            r'{"text": "nice \ud83d film", "label": 0}',
            r": field 'text' has half of a character (a lone surrogate, \ud83d) at character 6",
        ),
        ('{"text": "x", "label": NaN}', ": not valid JSON (NaN is not JSON)"),
        ('{"text": "x", "label": -Infinity}', ": not valid JSON (-Infinity is not JSON)"),
        ('{"text": "x", "label": 0, "text": "y"}', ": not valid JSON (the key 'text' occurs 2 times)"),
        (r'{"text\u001b[2J": "x", "label": 0}', r": field 'text' is missing; it has: text\x1b[2J, label"),
        ('{"text": "x", "label": ' + "9" * 5000 + "}", ": not valid JSON (Exceeds the limit (4300 digits)"),
        ("[" * 100_000, ": not valid JSON (maximum recursion depth exceeded"),
    ],
)
def test_bad_lines_are_named(toy: TextTask, tmp_path: Path, line: Any, expected: str) -> None:
    folder = write_rows(tmp_path, SAD, line)
    found = message(load_examples, toy, "train", folder)
    assert found.startswith(f"{folder}/train.jsonl, line 2{expected}")
    assert found.isprintable()
    assert len(found) < len(folder) + 400


def test_files_that_cannot_be_used(toy: TextTask, tmp_path: Path) -> None:
    folder = write_rows(tmp_path)
    assert message(load_examples, toy, "train", folder) == f"toy: no examples in the train data ({folder})"
    (tmp_path / "train.jsonl").write_bytes(b"\xff\n")
    assert message(load_examples, toy, "train", folder) == (
        f"{folder}/train.jsonl: cannot be read (line 1: not UTF-8 at byte 1)"
    )


def test_lines_have_a_sane_length(toy: TextTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "MOST_BYTES", 100)
    folder = write_rows(tmp_path, SAD, {"text": "x" * 100, "label": 0})
    assert message(load_examples, toy, "train", folder) == f"{folder}/train.jsonl, line 2: is longer than 100 bytes"


def test_line_ends_and_a_byte_order_mark_are_no_text(toy: TextTask, tmp_path: Path) -> None:
    line = json.dumps(SAD).encode()
    (tmp_path / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n  \n" + line)
    assert load_examples(toy, "train", str(tmp_path)) == [TextExample({"text": "rain"}, 0)] * 2


def test_queries_are_a_fixed_random_part_in_order() -> None:
    examples = [TextExample({"text": str(index)}, 0) for index in range(3000)]

    def chosen(num: int | None) -> list[int]:
        return [int(example.fields["text"]) for example in choose_queries(examples, num)]

    assert len(chosen(None)) == MAX_NUM_QUERIES
    assert chosen(50) == chosen(50) == sorted(chosen(50))
    assert set(chosen(50)) < set(chosen(100))
    assert chosen(50)[-1] > 1500
    assert chosen(5000) == list(range(3000))


def test_the_number_of_queries_is_positive() -> None:
    with pytest.raises(ValueError) as error:
        TextTaskConfig(num_queries=0)
    assert str(error.value) == "task.num_queries must be at least 1, got 0"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stand in for the hub: answers, and keeps what was asked."""
    import datasets

    hub = SimpleNamespace(rows=[{"sentence": "rain ", "label": 0, "idx": 7}], asked=[], reachable=True)

    def load_dataset(*arguments: Any, **keys: Any) -> datasets.Dataset:
        hub.asked.append((arguments, keys, datasets.config.HF_HUB_OFFLINE))
        if isinstance(hub.rows, Exception):
            raise hub.rows
        return datasets.Dataset.from_list(hub.rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        hub_rows, "connection_problem", lambda: None if hub.reachable else "no connection to the hub: cut"
    )
    return hub


def test_the_hub_is_asked_for_the_data_set(hub: SimpleNamespace) -> None:
    assert load_examples(load_task("sst2"), "validation", None) == [TextExample({"text": "rain"}, 0)]
    assert hub.asked == [(("nyu-mll/glue", "sst2"), {"split": "validation"}, False)]
    hub.rows = [{"text": "rain", "label": -1}]
    expected = "SetFit/subj, test row 1: field 'label' must be 0 to 1 or one of objective, subjective; got -1"
    assert message(load_examples, load_task("subj"), "validation", None) == expected


def test_without_a_connection_the_cache_is_asked(hub: SimpleNamespace) -> None:
    import datasets

    hub.reachable = False
    assert len(load_examples(load_task("sst2"), "train", None)) == 1
    assert hub.asked[0][2] is True
    assert datasets.config.HF_HUB_OFFLINE is False


@pytest.mark.parametrize("reachable", [True, False])
def test_what_the_hub_refuses_is_one_line(hub: SimpleNamespace, reachable: bool) -> None:
    hub.reachable, hub.rows = reachable, RuntimeError("gone\nTraceback")
    reason = "gone" if reachable else "no connection to the hub: cut"
    assert message(load_examples, load_task("sst2"), "train", None) == (
        f"sst2: not found locally and nyu-mll/glue could not be fetched ({reason}); "
        f"give task.data_dir=FOLDER with {DATA}"
    )


def test_offline_it_fails_at_once(
    write_task: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import datasets
    import huggingface_hub

    # What HF_HUB_OFFLINE=1 sets when these are imported.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    task = load_task(str(write_task(source={"path": "nobody/nothing"})))
    start = time.perf_counter()
    text = message(load_examples, task, "train", None)
    assert time.perf_counter() - start < 5
    assert text.startswith("toy: not found locally and nobody/nothing could not be fetched (no connection to the hub: ")
    assert text.endswith(f"; give task.data_dir=FOLDER with {DATA}")


def test_half_characters_in_a_task_are_named(write_task: Callable[..., Path]) -> None:
    path = write_task()
    lines = {"template": r'"{text}\ud83d:"', "answers": r'["\ud83d", "x"]'}
    for key, value in lines.items():
        others = {name: each for name, each in TASK.items() if name != key}
        path.write_text(yaml.safe_dump(others) + f"{key}: {value}\n")
        assert "has half of a character" in message(load_task, str(path))


def test_a_task_file_is_a_regular_file(tmp_path: Path) -> None:
    path = tmp_path / "pipe.yaml"
    os.mkfifo(path)
    assert message(load_task, str(path)) == f"{path}: expected a regular file"

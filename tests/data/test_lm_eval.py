"""Tasks of lm-evaluation-harness: what is asked and shown is what that library itself writes. No network."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import pytest
import yaml
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

import iclgd
from iclgd.data import lm_eval as tasks
from iclgd.data.text import TextTask, TextTaskError, load_examples, load_task
from tests.language_models import tiny_model, tiny_tokenizer

SHIPPED = Path(lm_eval.__file__).parent / "tasks"
HUB: dict[str, tuple[str, dict[str, Any]]] = {  # where the library has a task, and a row as the hub has it
    "piqa": ("piqa", {"goal": "Keep warm", "sol1": "swim", "sol2": "run", "label": 1}),
    "hellaswag": (
        "hellaswag",
        {
            "activity_label": "Sun",
            "ctx_a": "A man is [title] hot.",
            "ctx_b": "he",
            "endings": ["drinks.", "sleeps [step] long.", "sings.", "runs."],
            "label": "2",
        },
    ),
    "boolq": ("super_glue/boolq", {"passage": "The sun is hot.", "question": "is the sun hot", "label": 1}),
    "arc_easy": (
        "arc",
        {"question": "Hot?", "choices": {"text": ["ice", "sun"], "label": ["A", "B"]}, "answerKey": "B"},
    ),
}
TOY: dict[str, Any] = {
    "task": "toy",
    "output_type": "multiple_choice",
    "training_split": "train",
    "test_split": "test",
    "doc_to_text": "Day: {{text}} It is",
    "doc_to_choice": "{{answers}}",
    "doc_to_target": "label",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
ROWS = [{"text": text, "answers": ["bad", "quite good", "so so"], "label": 1} for text in ("rain", "sun", "wind")]


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(tasks, "connection_problem", lambda: "no connection to the hub: cut")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def use(monkeypatch: pytest.MonkeyPatch, folder: Path) -> TaskManager:
    manager = TaskManager(include_path=str(folder), include_defaults=False)  # all tasks take 12 seconds to find
    monkeypatch.setattr(tasks, "_manager", lambda: manager)
    return manager


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TaskManager]:
    """Write a task and its rows, and let it be found."""

    def write(rows: list[dict[str, Any]] = ROWS, **keys: Any) -> TaskManager:
        files = {split: str(tmp_path / f"{split}.json") for split in ("train", "test")}
        for path in files.values():
            Path(path).write_text(json.dumps(rows))
        task = {**TOY, "dataset_path": "json", "dataset_kwargs": {"data_files": files}, **keys}
        folder = tmp_path / "tasks"
        folder.mkdir(exist_ok=True)
        (folder / "toy.yaml").write_text(yaml.safe_dump(task))
        return use(monkeypatch, folder)

    return write


def check_against_the_library(task: ConfigurableTask, ours: TextTask) -> None:
    """Compare with what the library asks, and with its own few-shot context."""
    queries = load_examples(ours, "validation", None)
    for doc, query in zip(task.eval_docs, queries, strict=True):
        asked = [request.args for request in task.construct_requests(doc, task.fewshot_context(doc, 0))]
        wholes = [f"{ours.prompt(query)}{ours.delimiter}{answer}" for answer in ours.answers_of(query)]
        assert wholes == [f"{context}{continuation}" for context, continuation in asked]
        gold = task.doc_to_target(doc)
        assert query.label == (int(gold) if isinstance(gold, int) else task.doc_to_choice(doc).index(gold))
    shown = load_examples(ours, "train", None)
    task.set_fewshot_seed(0)
    num = max(1, len(shown) - 1)  # it may leave one out for what it asks
    examples = task.fewshot_context(task.eval_docs[0], num).split(task.config.fewshot_delimiter)[:-1]
    assert len(examples) == num
    assert set(examples) <= {ours.whole(example) for example in shown}


@pytest.mark.parametrize("name", HUB)
def test_tasks_as_they_stand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, row = HUB[name]
    other = {"answerKey": "A"} if "answerKey" in row else {"label": type(row["label"])(0)}
    split = datasets.Dataset.from_list([row, row | other])  # the library shows no row that it asks

    def load_dataset(path: str, name: str | None = None, **_: Any) -> datasets.DatasetDict:
        return datasets.DatasetDict(train=split, validation=split, test=split)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    manager = use(monkeypatch, SHIPPED / folder)
    ours = load_task(f"lm-eval:{name}")
    task = manager.load(name)["tasks"][name]
    assert isinstance(task, ConfigurableTask)
    check_against_the_library(task, ours)
    assert ours.answers == tuple(task.doc_to_choice(task.eval_docs[0]))  # both rows have the same


@pytest.mark.parametrize(
    ("keys", "delimiter"),
    [
        ({}, " "),
        ({"doc_to_text": "Day: {{text}}\n"}, "\n "),
        ({"target_delimiter": "", "doc_to_choice": ["\nbad", "\ngood"]}, "\n"),
        ({"target_delimiter": ""}, ""),
        ({"gen_prefix": "surely"}, " "),
        ({"doc_to_choice": ["bad", "good"], "doc_to_target": "{{['bad', 'good'][label]}}"}, " "),
        ({"fewshot_config": {"doc_to_text": "Old day: {{text}} It was"}}, " "),
        ({"fewshot_config": {"samples": ROWS[:1]}, "training_split": None}, " "),
    ],
)
def test_tasks_of_many_kinds(toy: Callable[..., TaskManager], keys: dict[str, Any], delimiter: str) -> None:
    manager = toy(**keys)
    ours = load_task("lm-eval:toy")
    assert ours.delimiter == delimiter
    task = manager.load("toy")["tasks"]["toy"]
    assert isinstance(task, ConfigurableTask)
    if "gen_prefix" in keys:
        assert ours.prompt(load_examples(ours, "validation", None)[0]) == "Day: rain It is surely"
    else:
        check_against_the_library(task, ours)


def refusal(name: str = "toy") -> str:
    with pytest.raises(TextTaskError) as error:
        load_task(f"lm-eval:{name}")
    assert str(error.value).isprintable()
    return str(error.value)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"training_split": None}, "takes examples from the split that it asks, test: demonstrations would be queries"),
        (
            {"output_type": "generate_until", "metric_list": None},
            ": expected a task of multiple choice, got generate_until",
        ),
        (
            {"doc_to_text": "label", "doc_to_target": "text"},
            " has prompts to choose from, which cannot be compared here",
        ),
        ({"doc_to_target": "{{[0, 1]}}"}, " has several right answers, which cannot be compared here"),
        ({"doc_to_text": "{{nothing}}"}, " cannot be loaded (no connection to the hub: cut)"),
        ({"doc_to_choice": [" bad", "good"], "target_delimiter": ""}, " has different white space before its answers"),
    ],
)
def test_tasks_that_are_refused(toy: Callable[..., TaskManager], keys: dict[str, Any], expected: str) -> None:
    toy(**keys)
    assert refusal().startswith("task.name=lm-eval:toy")
    assert expected in refusal()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"label": 3}, "its right answer must be 0 to 2; got 3"),
        ({"label": -1}, "its right answer must be 0 to 2; got -1"),
        ({"answers": ["bad"]}, "expected a text and several answers, got ('Day: x It is', ['bad'])"),
    ],
)
def test_bad_rows_are_named(toy: Callable[..., TaskManager], row: dict[str, Any], expected: str) -> None:
    toy([*ROWS, {"text": "x", "answers": ["bad", "good", "so"], "label": 0} | row])
    assert refusal() == f"lm-eval:toy, train row 4: {expected}"


def test_names_are_looked_up(toy: Callable[..., TaskManager], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy()
    (tmp_path / "tasks" / "all.yaml").write_text(yaml.safe_dump({"group": "toys", "task": ["toy"]}))
    use(monkeypatch, tmp_path / "tasks")
    assert refusal("toyy") == "task.name=lm-eval:toyy: no such task; did you mean toy?"
    assert refusal("toys") == "task.name=lm-eval:toys is a group of tasks; give one of them; did you mean toy?"
    path = str(tmp_path / "tasks" / "toy.yaml")  # a file of somebody's may hold code
    assert refusal(path) == f"task.name=lm-eval:{path}: no such task; see: lm-eval ls tasks"
    with pytest.raises(TextTaskError, match=r"task\.data_dir: lm-eval:toy brings its own data; leave the key out"):
        load_examples(load_task("lm-eval:toy"), "train", str(tmp_path))


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setattr(tasks, "find_spec", lambda _: None)
    assert refusal() == "task.name=lm-eval:toy needs lm-evaluation-harness: pip install 'iclgd[lm-eval]'"


def test_a_run_of_one(toy: Callable[..., TaskManager]) -> None:
    toy([{**row, "text": f"{row['text']} {index}"} for index in range(3) for row in ROWS])
    result = iclgd.compare(
        (tiny_model("gpt2"), tiny_tokenizer()), "lm-eval:toy", learning_rate=0.1, num_demonstrations=2, num_queries=4
    )
    assert result.config.task.name == "lm-eval:toy"
    assert list(result.predictions[0]["scores"]) == ["bad", "quite good", "so so"]


@pytest.mark.slow
def test_all_tasks_of_the_library_are_found() -> None:
    assert refusal("helaswag") == "task.name=lm-eval:helaswag: no such task; did you mean hellaswag?"
    assert refusal("mmlu").startswith("task.name=lm-eval:mmlu is a group of tasks; give one of them")

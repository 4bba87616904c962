"""Rows with answers of their own, as multiple choice has them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from iclgd.data.text import TextExample, TextTask, TextTaskError, load_examples, load_task, task_from_rows

PIQA = {"goal": "Keep warm", "sol1": "swim", "sol2": " run ", "label": 1}
ARC = {
    "question": "What is hot?",
    "choices": {"text": ["ice", "the sun", "snow"], "label": ["1", "2", "3"]},
    "answerKey": "2",
}
OWN = {"template": "{question}", "choices": "endings"}


def examples(row: dict[str, Any], **keys: Any) -> list[TextExample]:
    return load_examples(task_from_rows([row], [row], name="toy", **keys), "train", None)


def refusal(row: dict[str, Any], **keys: Any) -> str:
    with pytest.raises(TextTaskError) as error:
        examples(row, **keys)
    assert str(error.value).isprintable()
    return str(error.value)


def test_answers_in_several_fields() -> None:
    keys = {"template": "{goal}", "choices": ["sol1", "sol2"]}
    assert examples(PIQA, **keys) == [TextExample({"goal": "Keep warm"}, 1, ("swim", "run"))]
    for label in ("sol2", "run", "1", 1.0):
        assert examples(PIQA | {"label": label}, **keys)[0].label == 1
    assert refusal(PIQA | {"label": "B"}, **keys) == (
        "train row 1: field 'label' must be 0 to 1 or one of sol1, sol2; got 'B'"
    )
    assert refusal(PIQA | {"sol1": ""}, **keys) == (
        "train row 1: field 'sol1' must be a text that is not empty, got ''"
    )


def test_answers_with_names_in_a_part_of_a_field() -> None:
    keys = {
        "template": "{question}",
        "choices": "choices.text",
        "choice_names": "choices.label",
        "label": "answerKey",
    }
    assert examples(ARC, **keys) == [TextExample({"question": "What is hot?"}, 1, ("ice", "the sun", "snow"))]
    assert examples(ARC | {"answerKey": 2}, **keys)[0].label == 1  # a name, too
    assert "field 'choices.text' is missing; it has: question, choices, answerKey" in refusal(
        ARC | {"choices": ["ice"]}, **keys
    )
    fewer = ARC | {"choices": {"text": ["ice", "snow"], "label": ["1"] * 2}}
    assert refusal(fewer, **keys) == (
        "train row 1: field 'choices.label' must have a name of its own for each of 2 answers, got ['1', '1']"
    )


@pytest.mark.parametrize(
    ("label", "expected"),
    [(2, 2), ("2", 2), ("C", 2), ("snow", 2), (" ice ", 0), (0, 0)],
)
def test_labels_are_numbers_letters_or_answers(label: Any, expected: int) -> None:
    row = {"question": "What?", "endings": ["ice", "sun", "snow"], "label": label}
    assert examples(row, **OWN)[0].label == expected


@pytest.mark.parametrize(
    ("endings", "label", "expected"),
    [
        (["ice", "sun"], 2, "field 'label' must be 0 to 1 or one of its answers, or their letter; got 2"),
        (["ice", "sun"], "D", "field 'label' must be 0 to 1 or one of its answers, or their letter; got 'D'"),
        (["ice", "sun"], None, "field 'label' must be 0 to 1 or one of its answers, or their letter; got None"),
        (["ice"], 0, "field 'endings' must be a list of at least two texts, got ['ice']"),
        ("ice", 0, "field 'endings' must be a list of at least two texts, got 'ice'"),
        (["ice", 3], 0, "field 'endings[1]' must be a text that is not empty, got 3"),
        (
            ["2", "1", "0"],
            "2",
            "field 'label' must be clear, but means answer 2 (its number) and answer 0 (its text); got '2'",
        ),
        (
            ["B", "A"],
            "A",
            "field 'label' must be clear, but means answer 0 (its letter) and answer 1 (its text); got 'A'",
        ),
    ],
)
def test_rows_that_are_refused(endings: Any, label: Any, expected: str) -> None:
    row = {"question": "What?", "endings": endings, "label": label}
    assert refusal(row, **OWN) == f"train row 1: {expected}"


@pytest.mark.parametrize("label", [1, 2, "B", "C", "sun"])
def test_the_same_answer_twice_is_one(label: Any) -> None:
    row = {"question": "What?", "endings": ["ice", "sun", " sun "], "label": label}
    assert examples(row, **OWN) == [TextExample({"question": "What?"}, 1, ("ice", "sun"))]


def load(tmp_path: Path, **keys: Any) -> TextTask:
    path = tmp_path / "toy.yaml"
    task = {"version": 1, "description": "toy", "template": "{goal}", "source": {"data_dir": "."}}
    path.write_text(yaml.safe_dump(task | keys))
    return load_task(str(path))


def test_a_task_file_names_the_fields(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps(PIQA))
    task = load(tmp_path, choices=["sol1", "sol2"])
    assert load_examples(task, "train", None)[0].choices == ("swim", "run")
    for keys, expected in [
        ({"choices": "x", "answers": ["a", "b"]}, "give either answers, those of all rows, or choices"),
        ({"choices": 3}, "choices must be the name of a field, or a list of names, got 3"),
        ({"choices": ["sol1"]}, "choices must be one field with a list, or several with an answer each, got ('sol1',)"),
        ({"choices": ["a", "b"], "choice_names": "c"}, "choice_names goes with choices in one field"),
        ({"choices": "a", "choice_names": 3}, "choice_names must be a text that is not empty, got 3"),
    ]:
        with pytest.raises(TextTaskError) as error:
            load(tmp_path, **keys)
        assert expected in str(error.value)


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        (
            "piqa",
            {"goal": "Keep warm", "sol1": "swim", "sol2": "run", "label": 1},
            ("Question: Keep warm\nAnswer: run", ("swim", "run")),
        ),
        ("arc_easy", {"id": "x", **ARC}, ("Question: What is hot?\nAnswer: the sun", ("ice", "the sun", "snow"))),
    ],
)
def test_shipped_tasks_read_the_hubs_rows(name: str, row: dict[str, Any], expected: Any, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    task = load_task(name)
    (example,) = load_examples(task, "train", str(tmp_path))
    assert (task.whole(example), task.answers_of(example)) == expected

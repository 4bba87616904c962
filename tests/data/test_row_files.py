"""Rows from files as people have them: each format gives the examples that JSON lines give."""

import csv
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas
import pyarrow
import pytest
from pyarrow import parquet

from iclgd.data.text import TextExample, TextTask, TextTaskError, load_examples, task_from_rows

ROWS = [
    {"text": 'He said "no", twice,\nand left', "label": 0},
    {"text": "caf\u00e9 \u2028 \U0001f600", "label": 1},
    {"text": "tab\there", "label": 1},
    {"text": "null", "label": 0},
]
EXAMPLES = [TextExample({"text": row["text"]}, row["label"]) for row in ROWS]
Write = Callable[[list[dict[str, Any]], Path], object]


def write_json_lines(rows: list[dict[str, Any]], path: Path) -> None:
    path.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_pandas(rows: list[dict[str, Any]], path: Path) -> None:
    pandas.DataFrame(rows).to_csv(path.with_suffix(".csv"))  # with a column of numbers, that has no name


def write_tsv(rows: list[dict[str, Any]], path: Path) -> None:
    pandas.DataFrame(rows).to_csv(path.with_suffix(".tsv"), sep="\t", index=False, lineterminator="\r\n")


def write_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(rows), path.with_suffix(".parquet"))


def write_saved(rows: list[dict[str, Any]], path: Path) -> None:
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["a", "b"]))
    datasets.Dataset.from_list(rows, features=features).save_to_disk(path)


FORMATS: dict[str, Write] = {
    "jsonl": write_json_lines,
    "csv": write_csv,
    "pandas": write_pandas,
    "tsv": write_tsv,
    "parquet": write_parquet,
    "saved": write_saved,
}


@pytest.fixture
def task() -> TextTask:
    return task_from_rows([], [], template="Say: {text} Mood:", answers=["sad", "happy"], name="toy")


def refusal(task: TextTask, folder: Path) -> str:
    with pytest.raises(TextTaskError) as error:
        load_examples(task, "train", str(folder))
    assert str(error.value).isprintable()
    return str(error.value).replace(f"{folder}/", "")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("other", ["jsonl", "parquet"])
def test_each_format_has_the_same_rows(task: TextTask, tmp_path: Path, name: str, other: str) -> None:
    FORMATS[name](ROWS, tmp_path / "train")
    FORMATS[other](ROWS[:2], tmp_path / "validation")
    assert load_examples(task, "train", str(tmp_path)) == EXAMPLES
    assert load_examples(task, "validation", str(tmp_path)) == EXAMPLES[:2]


def test_splits_that_were_saved_together(task: TextTask, tmp_path: Path) -> None:
    from dataclasses import replace

    splits = {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[:1])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path)
    assert load_examples(task, "train", str(tmp_path)) == EXAMPLES
    with pytest.raises(TextTaskError) as error:
        load_examples(task, "validation", str(tmp_path))
    assert str(error.value).startswith(
        f"{tmp_path}: has no validation data; expected train and validation data (.jsonl"
    )
    hubs = replace(task, source=replace(task.source, splits={"train": "train", "validation": "test"}))
    assert load_examples(hubs, "validation", str(tmp_path)) == EXAMPLES[:1]  # as the hub calls it
    write_csv(ROWS[1:], tmp_path / "validation")
    assert load_examples(hubs, "validation", str(tmp_path)) == EXAMPLES[1:]  # our name comes first


def test_one_saved_data_set_has_no_splits(task: TextTask, tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path)
    assert f"{tmp_path}: one saved data set without splits; expected" in refusal(task, tmp_path)


@pytest.mark.parametrize("name", ["csv", "saved"])
def test_two_formats_of_one_split_are_refused(task: TextTask, tmp_path: Path, name: str) -> None:
    write_json_lines(ROWS, tmp_path / "train")
    FORMATS[name](ROWS, tmp_path / "train")
    second = {"csv": "train.csv", "saved": "train"}[name]
    assert refusal(task, tmp_path) == (
        f"{tmp_path}: has the train data more than once, as train.jsonl and {second}; leave one of them"
    )


@pytest.mark.parametrize(
    ("label", "expected"),
    [("happy", 1), ("1", 1), ("1.0", 1), (" 0 ", 0)],
)
def test_labels_of_separated_values(task: TextTask, tmp_path: Path, label: str, expected: int) -> None:
    (tmp_path / "train.csv").write_text(f"text,label\n\nrain,{label}\n")
    assert load_examples(task, "train", str(tmp_path)) == [TextExample({"text": "rain"}, expected)]


def test_answers_that_are_numbers_are_no_places(tmp_path: Path) -> None:
    stars = task_from_rows([], [], template="{text}", answers=["1", "2"], name="stars")
    (tmp_path / "train.csv").write_text("text,label\nrain,1\n")
    assert load_examples(stars, "train", str(tmp_path))[0].label == 0
    (tmp_path / "train.csv").write_text("text,label\nrain,1\nsun,0\n")
    assert refusal(stars, tmp_path) == "train.csv, line 3: field 'label' must be 0 to 1 or one of 1, 2; got '0'"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("text,label\nrain,\n", "line 2: field 'label' must be 0 to 1 or one of sad, happy; got ''"),
        ("text,label\n ,1\n", "line 2: field 'text' must be a text that is not empty, got ' '"),
        ("text,label\nrain,0.5\n", "line 2: field 'label' must be 0 to 1 or one of sad, happy; got '0.5'"),
        ("text,label\nrain,nan\n", "line 2: field 'label' must be 0 to 1 or one of sad, happy; got 'nan'"),
        ('text,label\n"a\nb",0\n"c\nd",9\n', "line 4: field 'label' must be 0 to 1 or one of sad, happy; got '9'"),
        ("sentence,label\nrain,1\n", "line 2: field 'text' is missing; it has: sentence, label"),
        ("text,label\nrain, or sun,1\n", "line 2: has 3 cells, but the header names 2: text, label"),
        ("text,label\nrain\n", "line 2: has 1 cells, but the header names 2: text, label"),
        ("text,label,text\n", "line 1: the column 'text' occurs 2 times"),
        ('text,label\n"rain" said he,1\n', "line 2: not valid, as cells in quotes are read (',' expected after '\"')"),
        ('text,label\na,1\n"b,1\nc,1\n', "line 3: not valid, as cells in quotes are read (unexpected end of data)"),
    ],
)
def test_bad_separated_values_are_named(task: TextTask, tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "train.csv").write_text(content)
    assert refusal(task, tmp_path) == f"train.csv, {expected}"


def test_separated_values_are_utf8(task: TextTask, tmp_path: Path) -> None:
    for encoding, expected in [("latin-1", "line 2: not UTF-8 at byte 4"), ("utf-16", "line 1: not UTF-8 at byte 1")]:
        (tmp_path / "train.csv").write_text("text,label\ncaf\u00e9,1\n", encoding=encoding)
        assert refusal(task, tmp_path) == f"train.csv: cannot be read ({expected})"
    (tmp_path / "train.csv").write_text("text,label\n")
    assert refusal(task, tmp_path) == f"toy: no examples in the train data ({tmp_path})"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ([0.0, 1.0], [0, 1]),
        (pyarrow.array(["sad", "happy"]).dictionary_encode(), [0, 1]),
        (pyarrow.array([0, 1], pyarrow.uint8()), [0, 1]),
        ([0, None], "train.parquet, row 2: field 'label' must be 0 to 1 or one of sad, happy; got None"),
        ([1.0, float("nan")], "train.parquet, row 2: field 'label' must be 0 to 1 or one of sad, happy; got nan"),
        ([True, True], "train.parquet, row 1: field 'label' must be 0 to 1 or one of sad, happy; got True"),
    ],
)
def test_labels_of_columns(task: TextTask, tmp_path: Path, label: Any, expected: Any) -> None:
    parquet.write_table(pyarrow.table({"text": ["rain", "sun"], "label": label}), tmp_path / "train.parquet")
    if isinstance(expected, str):
        assert refusal(task, tmp_path) == expected
    else:
        assert [example.label for example in load_examples(task, "train", str(tmp_path))] == expected


def test_damaged_parquet_is_one_line(task: TextTask, tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    parquet.write_table(pyarrow.table({"text": ["rain"] * 2500, "label": [1] * 2500}), path, row_group_size=1000)
    whole = path.read_bytes()
    for damaged in (b"", b"PAR1", whole[:-100], whole[100:], whole.replace(b"rain", b"\xff\xff\xff\xff")):
        path.write_bytes(damaged)
        assert refusal(task, tmp_path).startswith("train.parquet, row 1 and on: cannot be read (")
    parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array([1])] * 2, ["text", "text"]), path)
    assert refusal(task, tmp_path) == "train.parquet: the column 'text' occurs 2 times"


def test_damaged_saved_data_is_one_line(task: TextTask, tmp_path: Path) -> None:
    write_saved(ROWS, tmp_path / "train")
    (data,) = (tmp_path / "train").glob("*.arrow")
    data.write_bytes(data.read_bytes()[:50])
    assert refusal(task, tmp_path).startswith("train: cannot be read (")
    (tmp_path / "train" / "state.json").write_text("{")
    assert refusal(task, tmp_path).startswith("train: cannot be read (")


def test_no_more_is_kept_than_a_task_needs(task: TextTask, tmp_path: Path) -> None:
    rows = [{"text": "rain", "label": 1, "essay": "x" * 20_000}] * 500
    write_csv(rows, tmp_path / "train")  # 10 MB
    tracemalloc.start()
    try:
        assert len(load_examples(task, "train", str(tmp_path))) == 500
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000

"""Text classification tasks: a task is a YAML file, its examples are JSON lines or a data set on the hub.

The shipped tasks are those of [Dai] (Dai et al. 2023, arXiv 2212.10559), with their templates and answers.
"""

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from iclgd import checks, yaml_files
from iclgd.data.hub_rows import read_hub
from iclgd.data.json_lines import Row, RowsError, read_json_lines
from iclgd.data.seeding import named_generator
from iclgd.data.text_task import SPLITS, surrogate_in
from iclgd.data.text_task import TextExample as TextExample
from iclgd.data.text_task import TextSource as TextSource
from iclgd.data.text_task import TextTask as TextTask
from iclgd.data.text_task import TextTaskError as TextTaskError
from iclgd.data.text_task import task_from_rows as task_from_rows
from iclgd.files import FileError, name_for_folder
from iclgd.terminal import escaped
from iclgd.yaml_files import YamlError

TASKS_FOLDER = Path(__file__).parents[1] / "assets" / "tasks"
MAX_NUM_QUERIES = 2000  # as in [Dai]
MOST_SHOWN = 200  # characters of a row's values in a message
OVERLONG = {
    "refuse": "end with an error",
    "drop": "leave out those that do not fit beside the demonstrations, in any draw, and say how many",
}


@dataclass(frozen=True)
class TextTaskConfig:
    """Which text task, and where its data is.

    Raises:
        ValueError: if ``num_queries`` is not positive, or for an unknown name.
    """

    name: str = "embedded"
    """Name of a shipped task, or a path ending in .yaml."""
    data_dir: str | None = None
    """A folder with train.jsonl and validation.jsonl, or whose subfolder NAME has them; else the task's own."""
    num_queries: int | None = None
    """How many validation rows are asked; all, at most 2000, if null."""
    overlong: str = "refuse"
    """What happens if some of them are too long for the model."""

    def __post_init__(self) -> None:
        checks.one_of(OVERLONG, "task", self, "overlong")
        if self.num_queries is not None:
            checks.at_least(1, "task", self, "num_queries")


def text_task_names() -> list[str]:
    """Return the names of the tasks that ship with the package.

    Example:
        >>> "sst2" in text_task_names()
        True
    """
    return sorted(path.stem for path in TASKS_FOLDER.glob("*.yaml"))


def task_path(name_or_path: str) -> Path:
    """Return the file of a shipped task by its name, or the path itself."""
    path = Path(name_or_path)
    return path if path.suffix == ".yaml" else TASKS_FOLDER / f"{name_or_path}.yaml"


def load_task(name_or_path: str) -> TextTask:
    """Return a shipped task by its name, or the task of a YAML file.

    Args:
        name_or_path: a name in :func:`text_task_names`, or a path ending in ``.yaml``.

    Raises:
        TextTaskError: for an unknown name, a file that is missing or no YAML, and as in :class:`TextTask`.

    Example:
        >>> load_task("cb").answers
        ('True', 'False', 'Neither')
    """
    path = task_path(name_or_path)
    if path != Path(name_or_path) and name_or_path not in (names := text_task_names()):
        close = difflib.get_close_matches(name_or_path, names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise TextTaskError(
            f"unknown task {name_or_path!r}; {hint}Tasks: {', '.join(names)}; or a path that ends in .yaml"
        )
    try:
        name_for_folder(path)
        _, node = yaml_files.read(path)
        return _task(path, None if node is None else yaml_files.plain(node))
    except FileError as error:
        raise TextTaskError(str(error)) from None
    except (YamlError, TextTaskError) as error:
        raise TextTaskError(f"{path}: {error}") from None


def load_examples(task: TextTask, split: Literal["train", "validation"], data_dir: str | None) -> list[TextExample]:
    """Return a split's examples, in file order, texts without the white space around them.

    They come from ``data_dir``, else from where the task says: its rows, a folder, or the hub. A folder has
    ``train.jsonl`` and ``validation.jsonl``, or a subfolder of the task's name does; each line is an object with the
    texts that the template names, and a label: a number from 0, or one of the answers.

    Args:
        task: as from :func:`load_task`.
        split: ``"train"`` or ``"validation"``.
        data_dir: a folder, or None.

    Raises:
        TextTaskError: if the data is neither in a folder nor on the hub, for a line that is not JSON or lacks a field,
            an empty text, a label outside the answers.

    Example:
        >>> len(load_examples(load_task("embedded"), "train", None))
        300
    """
    folder = data_dir if data_dir is not None else task.source.data_dir
    own = task.source.rows
    try:
        if folder is not None:
            rows = list(read_json_lines(_file(folder, task.name, split)))
        elif own is not None:
            rows = [Row(f"{split} row {number}", dict(row)) for number, row in enumerate(own[split], start=1)]
        else:
            rows = _fetch(task, split)
    except RowsError as error:
        raise TextTaskError(str(error)) from None
    if not rows:
        where = folder or task.source.path or "its rows"
        raise TextTaskError(f"{task.name}: no examples in the {split} data ({where})")
    return [_example(task, row) for row in rows]


def choose_queries(examples: Sequence[TextExample], num_queries: int | None) -> list[TextExample]:
    """Return at most ``num_queries`` of the validation examples, in file order; all, or ``MAX_NUM_QUERIES``, if None.

    Which ones is random (files may be sorted by label) but always the same: runs with different seeds are compared on
    the same queries. Fewer queries are a part of more.
    """
    order = torch.randperm(len(examples), generator=named_generator(0, "queries"))
    chosen = order[: MAX_NUM_QUERIES if num_queries is None else num_queries]
    return [examples[index] for index in chosen.sort().values.tolist()]


def _fetch(task: TextTask, split: str) -> list[Row]:
    source = task.source
    assert source.path is not None
    try:
        return list(read_hub(source.path, source.config, source.splits[split]))
    except RowsError as error:
        raise TextTaskError(
            f"{task.name}: not found locally and {source.path} could not be fetched ({error}); "
            "give task.data_dir=FOLDER with train.jsonl and validation.jsonl"
        ) from None


def _file(data_dir: str, name: str, split: str) -> Path:
    """Return the split's file; both splits come from the same folder."""
    folder = Path(data_dir).expanduser()
    for candidate in (folder, folder / name):
        if any((candidate / f"{split}.jsonl").is_file() for split in SPLITS):
            return candidate / f"{split}.jsonl"
    raise TextTaskError(f"{folder}: neither it nor {folder / name} is a folder with train.jsonl and validation.jsonl")


def _example(task: TextTask, row: Row) -> TextExample:
    renamed = {new: row.values[old] for old, new in task.source.rename.items() if old in row.values}
    values = renamed | row.values  # a row that has the task's own field keeps it
    for key in (*task.fields, task.label):
        if key not in values:
            there = escaped(", ".join(values), MOST_SHOWN)
            raise TextTaskError(f"{row.position}: field {key!r} is missing; it has: {there}")
    texts = {}
    for key in task.fields:
        if not isinstance(values[key], str) or not values[key].strip():
            got = escaped(repr(values[key]), MOST_SHOWN)
            raise TextTaskError(f"{row.position}: field {key!r} must be a text that is not empty, got {got}")
        if (problem := surrogate_in(values[key])) is not None:
            raise TextTaskError(f"{row.position}: field {key!r} {problem}")
        texts[key] = values[key].strip()
    label = values[task.label]
    if isinstance(label, str) and label in task.answers:
        label = task.answers.index(label)
    if type(label) is not int or not 0 <= label < len(task.answers):
        allowed = f"0 to {len(task.answers) - 1} or one of {', '.join(task.answers)}"
        got = escaped(repr(label), MOST_SHOWN)
        raise TextTaskError(f"{row.position}: field {task.label!r} must be {allowed}; got {got}")
    return TextExample(texts, label)


def _task(path: Path, values: Any) -> TextTask:
    values = _checked_keys(TextTask, values, without="name")
    source = TextSource(**_checked_keys(TextSource, values.pop("source"), prefix="source.", without="rows"))
    if source.data_dir is not None:
        source = dataclasses.replace(source, data_dir=str(path.parent / source.data_dir))
    if isinstance(values["answers"], list):
        values["answers"] = tuple(values["answers"])
    return TextTask(name=path.stem, source=source, **values)


def _checked_keys(kind: type[Any], values: Any, prefix: str = "", without: str = "") -> dict[str, Any]:
    known = [item for item in dataclasses.fields(kind) if item.name != without]
    names = [item.name for item in known]
    if not isinstance(values, dict):
        raise TextTaskError(f"{prefix.rstrip('.') or 'a task'} must have keys and values ({', '.join(names)})")
    for key in values:
        if key not in names:
            raise TextTaskError(f"unknown key {prefix}{key}; known here: {', '.join(names)}")
    for item in known:
        if item.default is MISSING and item.default_factory is MISSING and item.name not in values:
            raise TextTaskError(f"key {prefix}{item.name} is missing")
    return dict(values)

"""Text classification tasks: a task is a YAML file, its examples are files in a folder or a data set on the hub.

The shipped tasks are those of [Dai] (Dai et al. 2023, arXiv 2212.10559), with their templates and answers.
"""

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from iclgd import checks, yaml_files
from iclgd.data.examples import example_of
from iclgd.data.hub_rows import read_hub
from iclgd.data.json_lines import Row, RowsError
from iclgd.data.lm_eval import LM_EVAL, load_lm_eval
from iclgd.data.row_files import DATA, SAVED, find_rows
from iclgd.data.seeding import named_generator
from iclgd.data.text_task import SPLITS
from iclgd.data.text_task import TextExample as TextExample
from iclgd.data.text_task import TextSource as TextSource
from iclgd.data.text_task import TextTask as TextTask
from iclgd.data.text_task import TextTaskError as TextTaskError
from iclgd.data.text_task import task_from_rows as task_from_rows
from iclgd.files import FileError, name_for_folder
from iclgd.yaml_files import YamlError

TASKS_FOLDER = Path(__file__).parents[1] / "assets" / "tasks"
MAX_NUM_QUERIES = 2000  # as in [Dai]
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
    """Name of a shipped task, a path ending in .yaml, or lm-eval:NAME, a task of lm-evaluation-harness."""
    data_dir: str | None = None
    """A folder with train and validation (.jsonl, .csv, .tsv, .parquet, or saved by datasets), or NAME/ has them."""
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
    """Return a shipped task by its name, the task of a YAML file, or one of lm-evaluation-harness.

    Args:
        name_or_path: a name in :func:`text_task_names`, a path ending in ``.yaml``, or ``lm-eval:NAME``.

    Raises:
        TextTaskError: for an unknown name, a file that is missing or no YAML, and as in :class:`TextTask` and
            :func:`~iclgd.data.lm_eval.load_lm_eval`.

    Example:
        >>> load_task("cb").answers
        ('True', 'False', 'Neither')
    """
    scheme, colon, name = name_or_path.partition(":")
    if colon and scheme == LM_EVAL:
        return load_lm_eval(name)
    path = task_path(name_or_path)
    if path != Path(name_or_path) and name_or_path not in (names := text_task_names()):
        close = difflib.get_close_matches(name_or_path, names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise TextTaskError(
            f"unknown task {name_or_path!r}; {hint}Tasks: {', '.join(names)}; or a path that ends in .yaml, "
            f"or {LM_EVAL}:NAME"
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
    ``train.jsonl`` and ``validation.jsonl``, or a subfolder of the task's name does; or ``.csv``, ``.tsv``,
    ``.parquet``, or folders ``train`` and ``validation`` that ``datasets`` has saved. Each row has the texts that the
    template names, and a label: a number from 0, or one of the answers; and its own answers, where it has such.

    Args:
        task: as from :func:`load_task`.
        split: ``"train"`` or ``"validation"``.
        data_dir: a folder, or None.

    Raises:
        TextTaskError: if the data is neither in a folder nor on the hub, is in a folder in two formats, or cannot be
            read; for a row that lacks a field, an empty text, a label outside the answers.

    Example:
        >>> len(load_examples(load_task("embedded"), "train", None))
        300
    """
    if task.source.examples is not None:
        if data_dir is not None:
            raise TextTaskError(f"task.data_dir: {task.name} brings its own data; leave the key out")
        return list(task.source.examples[split])
    folder = data_dir if data_dir is not None else task.source.data_dir
    own = task.source.rows
    try:
        if folder is not None:
            rows = _read_folder(folder, task, split)
        elif own is not None:
            rows = (Row(f"{split} row {number}", dict(row)) for number, row in enumerate(own[split], start=1))
        else:
            rows = _fetch(task, split)
        examples = [example_of(task, row) for row in rows]  # of a row no more is kept than the task needs
    except RowsError as error:
        raise TextTaskError(str(error)) from None
    if not examples:
        where = folder or task.source.path or "its rows"
        raise TextTaskError(f"{task.name}: no examples in the {split} data ({where})")
    return examples


def choose_queries(examples: Sequence[TextExample], num_queries: int | None) -> list[TextExample]:
    """Return at most ``num_queries`` of the validation examples, in file order; all, or ``MAX_NUM_QUERIES``, if None.

    Which ones is random (files may be sorted by label) but always the same: runs with different seeds are compared on
    the same queries. Fewer queries are a part of more.
    """
    order = torch.randperm(len(examples), generator=named_generator(0, "queries"))
    chosen = order[: MAX_NUM_QUERIES if num_queries is None else num_queries]
    return [examples[index] for index in chosen.sort().values.tolist()]


def _fetch(task: TextTask, split: str) -> Iterator[Row]:
    source = task.source
    assert source.path is not None
    try:
        yield from read_hub(source.path, source.config, source.splits[split])
    except RowsError as error:
        raise TextTaskError(
            f"{task.name}: not found locally and {source.path} could not be fetched ({error}); "
            f"give task.data_dir=FOLDER with {DATA}"
        ) from None


def _read_folder(data_dir: str, task: TextTask, split: str) -> Iterator[Row]:
    """Return the split's rows; both splits come from the same folder."""
    folder = Path(data_dir).expanduser()
    for candidate in (folder, folder / task.name):
        found = {each: find_rows(candidate, each, task.source.splits[each]) for each in SPLITS}
        if any(found.values()):
            if (rows := found[split]) is None:
                raise TextTaskError(f"{candidate}: has no {split} data; expected {DATA}")
            return rows()
    if (folder / SAVED).is_file():
        raise TextTaskError(f"{folder}: one saved data set without splits; expected {DATA}")
    raise TextTaskError(f"{folder}: neither it nor {folder / task.name} is a folder with {DATA}")


def _task(path: Path, values: Any) -> TextTask:
    if isinstance(values, dict) and "choices" in values:
        values = {"answers": (), **values}
    values = _checked_keys(TextTask, values, without=("name",))
    source = TextSource(
        **_checked_keys(TextSource, values.pop("source"), prefix="source.", without=("rows", "examples"))
    )
    if source.data_dir is not None:
        source = dataclasses.replace(source, data_dir=str(path.parent / source.data_dir))
    for key in ("answers", "choices"):
        if isinstance(values.get(key), list):
            values[key] = tuple(values[key])
    return TextTask(name=path.stem, source=source, **values)


def _checked_keys(kind: type[Any], values: Any, prefix: str = "", without: tuple[str, ...] = ()) -> dict[str, Any]:
    known = [item for item in dataclasses.fields(kind) if item.name not in without]
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

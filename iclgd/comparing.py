"""Compare in-context learning with finetuning from Python: a text run without a run directory."""

import base64
import contextlib
import copy
import html
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from iclgd import config as configs
from iclgd.analysis.answers import prediction_rows
from iclgd.checks import InputError
from iclgd.data.prompts import DemonstrationsConfig
from iclgd.data.text import TextTask
from iclgd.experiments import RunContext, text
from iclgd.memory import OutOfMemoryError, advice, is_exhausted
from iclgd.models.language import LanguageModel, check_weights, wrap
from iclgd.models.model_files import EMBEDDED, EMBEDDED_FOLDER, silenced
from iclgd.report.figures import draw, image
from iclgd.report.results import Results
from iclgd.runtime.process import prepared_process
from iclgd.terminal import say
from iclgd.typed_values import kinds_of

# Keys that are arguments here, or that have no place in a notebook: one process, and nothing is written.
NOT_OVERRIDDEN = ("experiment", "model.name", "task.name", "tracking", "trainer.devices", "trainer.num_nodes")
WIDTH = 120  # of a table in a notebook, in characters
PREFORMATTED = '<pre style="overflow-x:auto;line-height:normal;font-family:monospace">{code}</pre>'


@dataclass(frozen=True)
class ComparisonResult:
    """What a comparison of in-context learning with finetuning has found; it shows itself in a notebook.

    Attributes:
        config: the resolved config, as ``iclgd run`` would have it.
        summary: every number under its summary name, as in a run's ``summary.json``.
        predictions: a row for each query in each setting, as in a run's ``predictions.jsonl``: ``control`` (``None``:
            the comparison itself), ``draw``, ``query``, ``setting``, ``text``, ``label``, ``choice`` and ``scores`` by
            answer; where ``setting`` is ``in_context`` also ``likeness``, by measure.
        notes: what a run says about its prompts.
        search: with ``learning_rate="search"`` what each rate has shown, as in a run's ``metrics.jsonl``.
        records: what a run keeps as ``analysis/NAME.json``, by name: ``attention_to_demonstrations``.

    Example:
        >>> result = compare("embedded", "embedded", learning_rate=0.02, num_demonstrations=4, num_queries=4)
        >>> result.table().columns[0].header, result._repr_html_()[:4]
        ('name', '<pre')
    """

    config: text.Config
    summary: dict[str, float] = field(repr=False)
    predictions: list[dict[str, Any]] = field(repr=False)
    notes: tuple[str, ...] = ()
    search: list[dict[str, float]] = field(default_factory=list, repr=False)
    records: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    def table(self) -> Table:
        """Return the numbers as a table of rich's: a row for each measure, a column for each control."""
        return text.EXPERIMENT.table(self.summary, f"{self.config.model.name}, {self.config.task.name}")

    def figure(self, name: str) -> Figure:
        """Return a figure of matplotlib's: ``similarity``, ``attention_to_demonstrations`` or ``accuracy``.

        Of several orders there is ``order``, too, of a search ``learning_rate``.

        Raises:
            InputError: for another name.
        """
        figures = text.EXPERIMENT.drawings()
        if name not in figures:
            raise InputError(f"figure must be one of: {', '.join(figures)}; got {name!r}")
        config = configs.to_dict(self.config)
        results = Results(
            self.search, self.summary, analyses=self.records, config=config, read_rows=lambda: self.predictions
        )
        figure = draw(figures[name], results)
        if figure is None:  # a comparison has all measures
            raise InputError(f"figure {name}: there has been no search, see learning_rate")
        return figure

    def _repr_html_(self) -> str:
        console = Console(record=True, file=io.StringIO(), width=WIDTH)
        console.print(self.table())
        table = console.export_html(inline_styles=True, code_format=PREFORMATTED)
        notes = "".join(f"<p>note: {html.escape(note)}</p>" for note in self.notes)
        encoded = base64.b64encode(image(self.figure("similarity"), "png")).decode()
        return f'{table}{notes}<img alt="similarity over layers" src="data:image/png;base64,{encoded}">'


def compare(
    model: str | Path | tuple[PreTrainedModel, Tokenizer],
    task: str | Path | TextTask,
    *,
    learning_rate: float | str,
    num_demonstrations: int = DemonstrationsConfig.num,
    controls: Sequence[str] = (),
    other_task: str | Path | None = None,
    num_queries: int | None = None,
    num_draws: int = DemonstrationsConfig.num_draws,
    seed: int = 0,
    overrides: Sequence[str] = (),
) -> ComparisonResult:
    """Ask a language model zero-shot, in context and finetuned, and compare what happens; Dai et al. 2023.

    The numbers are those of ``iclgd run`` with the same config, bit for bit. Nothing is written, and neither model nor
    tokenizer nor the caller's random numbers are changed: the model's weights are read where they are, finetuned ones
    are kept apart. Ends on the CPU or one GPU, see ``trainer.accelerator``.

    Args:
        model: ``embedded``, a folder, a name on the hub, or a model and its tokenizer; these in their own precision.
        task: the name of a shipped task, a task's YAML file, or a task, see :func:`iclgd.data.task_from_rows`.
        learning_rate: of the finetuning steps, one for each demonstration; or ``"search"``, see
            :class:`~iclgd.analysis.finetune.SearchConfig`.
        num_demonstrations: how many are shown, and finetuned on.
        controls: any of ``untrained``, ``shuffled_labels`` and ``other_task``.
        other_task: a task's name or file, for that control.
        num_queries: how many are asked; ``None``: all, at most 2000.
        num_draws: of demonstrations, the numbers being means over them.
        seed: of random weights, bootstrap and baselines.
        overrides: further keys of the config, as on the command line: ``"demonstrations.seed=1"``.

    Raises:
        InputError: if something cannot be used, in one line; before anything expensive is done.
        OutOfMemoryError: if memory is not enough.

    Example:
        >>> result = compare("embedded", "embedded", learning_rate=0.02, num_demonstrations=4, num_queries=8)
        >>> result.summary["accuracy/in_context"] == sum(
        ...     row["choice"] == row["label"] for row in result.predictions if row["setting"] == "in_context"
        ... ) / 8
        True
        >>> result.figure("accuracy").axes[0].get_ylabel()
        'accuracy'
    """
    pretrained = None if isinstance(model, str | Path) else _pretrained(model)
    name = model if pretrained is None else pretrained[0].name
    given = {
        "seed": seed,
        "model.name": json.dumps(str(name)),  # quoted: a name may look like anything
        "task.name": json.dumps(task.name if isinstance(task, TextTask) else str(task)),
        "task.num_queries": "null" if num_queries is None else num_queries,
        "demonstrations.num": num_demonstrations,
        "demonstrations.num_draws": num_draws,
        "finetune.learning_rate": learning_rate,
        "evaluation.controls": json.dumps(list(controls)),
        "evaluation.other_task": "null" if other_task is None else json.dumps(str(other_task)),
    }
    config = _config(given, overrides, has_model=pretrained is not None)
    if torch.distributed.is_initialized():
        raise InputError("compare works in one process: call it where torch.distributed is not initialised")
    with prepared_process(config.trainer.threads_per_process), _anywhere(), _advising():
        prepared = text.prepare(config, task if isinstance(task, TextTask) else None, pretrained)
        for note in prepared.notes:
            say(f"note: {note}")
        summary = text.execute(RunContext.alone(config), prepared)
    rows = prediction_rows(prepared.module.answered())
    curve = prepared.search[0].curve if prepared.search is not None else []
    records = text.records(prepared.module)
    return ComparisonResult(config, summary, list(rows), tuple(prepared.notes), curve, records)


def _pretrained(model: Any) -> tuple[LanguageModel, Tokenizer]:
    """Return a model and a tokenizer to work with: neither is the caller's.

    Raises:
        InputError: if they are no such objects.
        LanguageModelError: if the model cannot be looked into.
    """
    if (
        not isinstance(model, tuple | list)
        or len(model) != 2
        or not isinstance(model[0], PreTrainedModel)
        or not isinstance(model[1], Tokenizer)
    ):
        parts = model if isinstance(model, tuple | list) else [model]
        got = ", ".join(type(part).__name__ for part in parts)
        raise InputError(
            f"model must be a name, a folder, or a PreTrainedModel of transformers and its tokenizer; got {got}"
        )
    name = model[0].name_or_path or type(model[0]).__name__
    if Path(name) == EMBEDDED_FOLDER:
        name = EMBEDDED
    check_weights(name, model[0])
    # A call of a fast tokenizer changes how it truncates, pads and reads control tokens.
    return wrap(name, model[0]), copy.deepcopy(model[1])


def _config(given: dict[str, object], overrides: Sequence[str], has_model: bool) -> text.Config:
    """Return the config of arguments and overrides, checked as the command line's.

    Raises:
        InputError: for a wrong key or value.
    """
    refused = (*NOT_OVERRIDDEN, "model") if has_model else NOT_OVERRIDDEN
    for override in overrides:
        key = override.partition("=")[0]
        if any(key == each or key.startswith(f"{each}.") for each in refused):
            raise InputError(f"overrides: {key} cannot be given here")
    typed = configs.Typed(text.Config, kinds_of(text.Config), {})
    typed = configs.overlaid(typed, "compare", [f"{key}={value}" for key, value in given.items()])
    typed = configs.overlaid(typed, "overrides", overrides)
    config = configs.complete(typed, Path("overrides"))
    assert isinstance(config, text.Config)
    return config


@contextlib.contextmanager
def _anywhere() -> Iterator[None]:
    """Let gradients be computed wherever this is called, and transformers speak again afterwards."""
    with torch.inference_mode(False), torch.enable_grad(), silenced():
        yield


@contextlib.contextmanager
def _advising() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_exhausted(error):
            raise OutOfMemoryError(advice(text.EXPERIMENT.needs_memory)) from error
        raise

"""In-context learning against finetuning of a language model on a text task."""

import dataclasses
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from omegaconf import MISSING

from iclgd.analysis.answers import prediction_rows
from iclgd.analysis.finetune import FinetuneConfig
from iclgd.data.prompts import DemonstrationsConfig, Prompts, build_prompts, select_demonstrations
from iclgd.data.prompts import shuffle_labels as shuffled
from iclgd.data.seeding import named_generator
from iclgd.data.text import (
    TextExample,
    TextTask,
    TextTaskConfig,
    TextTaskError,
    choose_queries,
    load_examples,
    load_task,
    task_path,
)
from iclgd.data.text_datamodule import TextDataModule
from iclgd.experiments.protocol import Experiment, RunContext
from iclgd.models.language import (
    LanguageModel,
    LanguageModelConfig,
    LanguageModelError,
    load_language_model,
    load_tokenizer,
    untrained_twin,
)
from iclgd.modules.dual_form import Comparison, DualFormModule
from iclgd.modules.similarities import EvaluationConfig
from iclgd.report.comparison_table import comparison_table
from iclgd.report.figures import Draw
from iclgd.report.similarity_figures import accuracy, similarity
from iclgd.runtime.participants import Participants
from iclgd.runtime.stopping import interruptible
from iclgd.runtime.text_progress import TextProgress
from iclgd.runtime.trainer import DeviceConfig, make_trainer
from iclgd.terminal import say
from iclgd.tracking.predictions import write_predictions
from iclgd.tracking.wandb import TrackingConfig

FIGURES: dict[str, Draw] = {"similarity": similarity, "accuracy": accuracy}
ANY_LENGTH = sys.maxsize  # for models without a limit of their own


@dataclass(frozen=True)
class Config:
    """A comparison of in-context learning with finetuning."""

    experiment: str = "text"
    """Which experiment."""
    seed: int = 0
    """Seed of random weights, bootstrap and baselines; demonstrations.seed draws the demonstrations."""
    model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    task: TextTaskConfig = field(default_factory=TextTaskConfig)
    demonstrations: DemonstrationsConfig = field(default_factory=DemonstrationsConfig)
    finetune: FinetuneConfig = MISSING
    """How the model is finetuned; its learning rate has no default."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    trainer: DeviceConfig = field(default_factory=DeviceConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        other = self.evaluation.other_task
        if other is not None and task_path(other).resolve() == task_path(self.task.name).resolve():
            raise ValueError(f"evaluation.other_task must be another task than task.name; got {other!r}")
        num_processes = self.trainer.devices * self.trainer.num_nodes
        if self.task.num_queries is not None and self.task.num_queries < num_processes:
            raise ValueError(
                f"task.num_queries must be at least trainer.devices x trainer.num_nodes ({num_processes}), "
                f"got {self.task.num_queries}"
            )


Prepared = tuple[TextDataModule, DualFormModule, list[str]]


def prepare(config: Config) -> Prepared:
    """Return an experiment's data and module, and what to tell the user.

    Raises:
        TextTaskError: if a task or its data cannot be read.
        PromptError: if prompts cannot be built.
        LanguageModelError: if the model cannot be loaded or looked into.
    """
    task = load_task(config.task.name)
    rows = load_examples(task, "train", config.task.data_dir)
    queries = choose_queries(load_examples(task, "validation", config.task.data_dir), config.task.num_queries)
    tokenizer = load_tokenizer(config.model)
    model = load_language_model(config.model, config.seed)
    if config.trainer.precision == "64-true":
        model.model.double()  # as the Trainer will: what cannot be run so is found now
    demonstrations = select_demonstrations(rows, config.demonstrations, task.answers)

    def prompts(shown: list[TextExample], shown_task: TextTask = task) -> Prompts:
        limit = model.max_length or ANY_LENGTH
        return build_prompts(task, tokenizer, shown, queries, config.demonstrations, limit, shown_task)

    def untrained() -> tuple[LanguageModel, Prompts]:
        return untrained_twin(model, config.seed), prompts(demonstrations)

    def shuffled_labels() -> tuple[LanguageModel, Prompts]:
        generator = named_generator(config.demonstrations.seed, "shuffled_labels")
        return model, prompts(shuffled(demonstrations, generator))

    def other_task() -> tuple[LanguageModel, Prompts]:
        assert config.evaluation.other_task is not None
        other = load_task(config.evaluation.other_task)
        if dataclasses.replace(other, name=task.name, version=task.version, description=task.description) == task:
            raise TextTaskError("evaluation.other_task must be another task than task.name; both have the same content")
        others = load_examples(other, "train", _subfolder(config.task.data_dir, other.name))
        return model, prompts(select_demonstrations(others, config.demonstrations, other.answers), other)

    controls: dict[str, Callable[[], tuple[LanguageModel, Prompts]]] = {
        "untrained": untrained,
        "shuffled_labels": shuffled_labels,
        "other_task": other_task,
    }
    comparisons = [Comparison("", model, prompts(demonstrations))]
    comparisons += [Comparison(name, *controls[name]()) for name in config.evaluation.controls]
    for item in comparisons:
        _check_tokens(item)
    data = TextDataModule([item.prompts for item in comparisons], config.evaluation.batch_size)
    module = DualFormModule(comparisons, config.finetune, config.evaluation, config.seed)
    return data, module, list(comparisons[0].prompts.notes)


def execute(context: RunContext[Config], prepared: Prepared) -> dict[str, float]:
    """Finetune, see all queries in all settings, and return the summary.

    There are no checkpoints: an interrupted comparison starts over, and the base model's weights are nobody's copy.
    """
    config, directory = context.config, context.directory
    data, module, notes = prepared
    if directory is not None:
        for note in notes:
            say(f"note: {note}")
    trainer = make_trainer(
        config.trainer,
        checkpoints=None,
        loggers=context.loggers,
        callbacks=[Participants(config, context.checkpoint, directory), TextProgress()],
        is_replicated=True,
        launch=context.launch,
    )
    with interruptible(trainer):
        trainer.fit(module, data)
        trainer.test(module, data, verbose=False)
    if directory is not None:
        compared = [(item.name, item.prompts) for item in module.comparisons]
        write_predictions(directory, prediction_rows(compared, module.answers))
    speed = len(data.prompts[0].queries) / module.seconds
    peak_memory = _peak_memory(trainer.strategy.root_device)  # the module is back on the CPU
    return {**module.results, "queries_per_second": speed, "peak_memory_bytes": float(peak_memory)}


def _check_tokens(comparison: Comparison) -> None:
    """Refuse a tokenizer that is not the model's."""
    prompts = comparison.prompts
    largest = max(max(tokens) for tokens in (prompts.context, *prompts.queries, *prompts.answers))
    num_known = comparison.model.model.get_input_embeddings().num_embeddings
    if largest >= num_known:
        raise LanguageModelError(
            f"model.tokenizer: it has a token {largest}, but the model knows {num_known}; is it this model's tokenizer?"
        )


def _subfolder(data_dir: str | None, name: str) -> str | None:
    """Return a task's folder below ``data_dir``, if there is one; ``data_dir`` itself may hold another task's data."""
    folder = Path(data_dir).expanduser() / name if data_dir is not None else None
    return str(folder) if folder is not None and folder.is_dir() else None


def _peak_memory(device: torch.device) -> int:
    """Return the largest memory that the device, or this process, has had in use so far, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # Linux; getrusage would report the peak of whoever started this process, if that was higher
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


EXPERIMENT = Experiment(
    config=Config,
    prepare=prepare,
    execute=execute,
    needs_memory="evaluation.batch_size or demonstrations.num, or take a smaller model",
    may_be_undefined=("rec2ftp",),
    figures=FIGURES,
    table=comparison_table,
)

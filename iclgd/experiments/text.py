"""In-context learning against finetuning of a language model on a text task."""

import itertools
import resource
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import MISSING
from transformers import PreTrainedTokenizerBase as Tokenizer

from iclgd.analysis.answers import prediction_rows
from iclgd.analysis.finetune import SEARCH, FinetuneConfig
from iclgd.analysis.original import Original
from iclgd.data.orders import more_orders
from iclgd.data.prompts import DemonstrationsConfig, PromptError, Prompts
from iclgd.data.text import TextExample, TextTask, TextTaskConfig, choose_queries, load_examples, load_task, task_path
from iclgd.data.text_datamodule import TextDataModule
from iclgd.experiments.model_placement import check_placement
from iclgd.experiments.protocol import Experiment, RunContext
from iclgd.measures import CONTROLS, TEXT_METRICS
from iclgd.models.language import LanguageModel, LanguageModelError
from iclgd.models.loading import LanguageModelConfig, load_language_model, load_tokenizer
from iclgd.modules.dual_form import Comparison, DualFormModule
from iclgd.modules.rate_search import RateSearch, RateSearchData
from iclgd.modules.similarities import EvaluationConfig
from iclgd.report.comparison_table import comparison_table
from iclgd.report.figures import Draw
from iclgd.report.order_figures import order
from iclgd.report.rate_figures import learning_rate
from iclgd.report.similarity_figures import accuracy, similarity
from iclgd.report.titles import of_text
from iclgd.runtime.participants import Participants
from iclgd.runtime.stopping import interruptible
from iclgd.runtime.text_progress import TextProgress
from iclgd.runtime.trainer import DeviceConfig, make_trainer
from iclgd.terminal import say
from iclgd.tracking.predictions import write_predictions
from iclgd.tracking.wandb import TrackingConfig

FIGURES: dict[str, Draw] = {
    "similarity": similarity,
    "accuracy": accuracy,
    "order": order,
    "learning_rate": learning_rate,
}


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
        judged, drawn = self.finetune.search.num_draws, self.demonstrations.num_draws
        if judged is not None and judged > drawn:
            raise ValueError(
                f"finetune.search.num_draws must be at most demonstrations.num_draws ({drawn}), got {judged}"
            )
        check_placement(self.model, self.trainer)
        num_processes = self.trainer.devices * self.trainer.num_nodes
        if self.task.num_queries is not None and self.task.num_queries < num_processes:
            raise ValueError(
                f"task.num_queries must be at least trainer.devices x trainer.num_nodes ({num_processes}), "
                f"got {self.task.num_queries}"
            )


class Prepared(NamedTuple):
    """A comparison that can begin.

    Attributes:
        data: demonstrations and queries.
        module: that compares.
        notes: what to tell the user.
        search: finds the learning rate, and its data; ``None`` if it is given.
        num_overlong: how many queries are left out.
    """

    data: TextDataModule
    module: DualFormModule
    notes: list[str]
    search: tuple[RateSearch, RateSearchData] | None = None
    num_overlong: int = 0


def prepare(
    config: Config, task: TextTask | None = None, pretrained: tuple[LanguageModel, Tokenizer] | None = None
) -> Prepared:
    """Return an experiment's data and module, and what to tell the user.

    Args:
        config: what to run.
        task: instead of the one that the config names.
        pretrained: a model and its tokenizer, instead of those that the config names.

    Raises:
        TextTaskError: if a task or its data cannot be read.
        PromptError: if prompts cannot be built.
        LanguageModelError: if the model cannot be loaded or looked into.
    """
    task, rows, queries = read_task(config.task, task)
    if pretrained is None:
        tokenizer = load_tokenizer(config.model)
        model = load_language_model(config.model, config.seed)
    else:
        model, tokenizer = pretrained
    if model.is_placed and config.trainer.precision != DeviceConfig.precision:
        raise LanguageModelError(
            f"model.name={model.name} stays on its devices as it is: it needs "
            f"trainer.precision={DeviceConfig.precision}, got {config.trainer.precision}"
        )
    if config.trainer.precision == "64-true":
        model.model.double()  # as the Trainer will: what cannot be run so is found now
    original = Original(
        model,
        tokenizer,
        task,
        (),
        queries,
        config.demonstrations,
        config.seed,
        config.evaluation.other_task,
        config.task.data_dir,
        config.evaluation.calibrate,
    )
    draws = [original.drawn_again(draw, rows) for draw in range(config.demonstrations.num_draws)]
    original, draws, prompts = original.of_fitting_queries(draws, config.task.overlong == "drop")
    comparisons = []
    for draw, drawn in enumerate(draws):
        number = len(prompts[draw].demonstrations)
        orders = more_orders(number, config.demonstrations.num_orders, drawn.config.seed)
        comparisons.append(Comparison("", model, prompts[draw], draw, orders))
        comparisons += [Comparison(name, *CONTROLS[name].build(drawn), draw) for name in config.evaluation.controls]
    for item in comparisons:
        check_tokens(item.model, item.prompts)
    evaluation = config.evaluation
    data = TextDataModule([item.prompts for item in comparisons], evaluation.batch_size, evaluation.place)
    module = DualFormModule(comparisons, config.finetune, evaluation, config.seed)
    notes = [note for item in comparisons if not item.name for note in item.prompts.notes]
    num_overlong = len(queries) - len(original.queries)
    if num_overlong:
        assert model.max_length is not None
        num_processes = config.trainer.devices * config.trainer.num_nodes
        if len(original.queries) < num_processes:
            raise PromptError(
                f"task.overlong=drop leaves {len(original.queries)} of {len(queries)} queries, which must be at least "
                f"trainer.devices x trainer.num_nodes ({num_processes})"
            )
        notes.append(note_on_overlong(num_overlong, len(queries), model.max_length))
    search = None
    if config.finetune.learning_rate == SEARCH:
        settings = config.finetune.search
        held_out = original.held_out(rows, draws, settings.num_rows)
        judged_by = [item for item in comparisons if not item.name][: settings.num_draws]
        search = (
            RateSearch(judged_by, held_out, config.finetune, config.evaluation.batch_size),
            RateSearchData(len(judged_by), len(settings.learning_rates)),
        )
    return Prepared(data, module, list(dict.fromkeys(notes)), search, num_overlong)


def note_on_overlong(num: int, num_queries: int, max_length: int) -> str:
    """Return what a run says of queries that are left out.

    Args:
        num: how many are.
        num_queries: of how many.
        max_length: of the model, in tokens.
    """
    return (
        f"task.overlong=drop: {num} of {num_queries} queries are left out, as they do not fit beside the "
        f"demonstrations; the model's limit is {max_length} tokens"
    )


def read_task(
    config: TextTaskConfig, task: TextTask | None = None
) -> tuple[TextTask, list[TextExample], list[TextExample]]:
    """Return a task, its training rows and the rows that are asked.

    Args:
        config: the ``task`` part of the config.
        task: instead of the one that it names.

    Raises:
        TextTaskError: if the task or its data cannot be read.
    """
    task = task or load_task(config.name)
    rows = load_examples(task, "train", config.data_dir)
    return task, rows, choose_queries(load_examples(task, "validation", config.data_dir), config.num_queries)


def execute(context: RunContext[Config], prepared: Prepared) -> dict[str, float]:
    """Finetune, see all queries in all settings, and return the summary.

    There are no checkpoints: an interrupted comparison starts over, and the base model's weights are nobody's copy.
    """
    config, directory = context.config, context.directory
    data, module, notes, search, num_overlong = prepared
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
        if search is not None:
            trainer.validate(*search, verbose=False)
            module.learning_rate = search[0].found
        trainer.fit(module, data)
        trainer.test(module, data, verbose=False)
    if directory is not None:
        write_predictions(directory, prediction_rows(module.answered()))
    speed = len(data.prompts[0].queries) / module.seconds
    placed = [item.model.model for item in module.comparisons if item.model.is_placed]
    devices = {parameter.device for model in placed for parameter in model.parameters()}
    memory = peak_memory({trainer.strategy.root_device, *devices})  # the module is back on the CPU
    found = search[0].results if search is not None else {}
    if config.task.overlong == "drop":
        found = {**found, "overlong_queries": float(num_overlong)}
    return {**module.results, **found, "queries_per_second": speed, "peak_memory_bytes": float(memory)}


def check_tokens(model: LanguageModel, prompts: Prompts) -> None:
    """Refuse a tokenizer that is not the model's.

    Raises:
        LanguageModelError: for a token that the model has not.
    """
    answers = itertools.chain(prompts.answers, *prompts.choices)
    largest = max(max(tokens) for tokens in (prompts.context, *prompts.queries, *answers, *prompts.content_free))
    num_known = model.model.get_input_embeddings().num_embeddings
    if largest >= num_known:
        raise LanguageModelError(
            f"model.tokenizer: it has a token {largest}, but the model knows {num_known}; is it this model's tokenizer?"
        )


def peak_memory(devices: set[torch.device]) -> int:
    """Return the largest memory that the GPUs, or else this process, have had in use so far, in bytes."""
    if gpus := [device for device in devices if device.type == "cuda"]:
        return sum(torch.cuda.max_memory_allocated(device) for device in gpus)
    status = Path("/proc/self/status")
    if status.exists():  # Linux; getrusage would report the peak of whoever started this process, if that was higher
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


EXPERIMENT = Experiment(
    config=Config,
    prepare=prepare,
    execute=execute,
    needs_memory="evaluation.batch_size, demonstrations.num or demonstrations.num_draws, or take a smaller model",
    may_be_undefined=tuple(name for name, entry in TEXT_METRICS.items() if entry.may_be_undefined),
    figures=FIGURES,
    title=of_text,
    table=comparison_table,
)

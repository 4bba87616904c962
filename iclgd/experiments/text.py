"""In-context learning against finetuning of a language model on a text task."""

from dataclasses import dataclass, field
from typing import NamedTuple

from omegaconf import MISSING
from transformers import PreTrainedTokenizerBase as Tokenizer

from iclgd.analysis.answers import prediction_rows
from iclgd.analysis.finetune import SEARCH, FinetuneConfig
from iclgd.analysis.original import Original
from iclgd.data.orders import more_orders
from iclgd.data.prompts import DemonstrationsConfig
from iclgd.data.text import TextExample, TextTask, TextTaskConfig, choose_queries, load_examples, load_task, task_path
from iclgd.data.text_datamodule import TextDataModule
from iclgd.experiments.asking import asking_trainer, check_asking, check_tokens, costs, notes_on_overlong
from iclgd.experiments.protocol import Experiment, Record, RunContext
from iclgd.measures import CONTROLS, TEXT_METRICS, TO_DEMONSTRATIONS
from iclgd.models.language import LanguageModel, LanguageModelError
from iclgd.models.loading import LanguageModelConfig, load_language_model, load_tokenizer
from iclgd.modules.dual_form import Comparison, DualFormModule
from iclgd.modules.rate_search import RateSearch, RateSearchData
from iclgd.modules.similarities import EvaluationConfig
from iclgd.report.attention_figures import attention_to_demonstrations
from iclgd.report.comparison_table import comparison_table
from iclgd.report.figures import Draw
from iclgd.report.order_figures import order
from iclgd.report.rate_figures import learning_rate
from iclgd.report.similarity_figures import accuracy, similarity
from iclgd.report.titles import of_text
from iclgd.runtime.stopping import interruptible
from iclgd.runtime.trainer import DeviceConfig
from iclgd.tracking.predictions import write_predictions
from iclgd.tracking.wandb import TrackingConfig

FIGURES: dict[str, Draw] = {
    "similarity": similarity,
    TO_DEMONSTRATIONS: attention_to_demonstrations,
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
        check_asking(self.seed, self.model, self.task, self.trainer)
        other = self.evaluation.other_task
        if other is not None and task_path(other).resolve() == task_path(self.task.name).resolve():
            raise ValueError(f"evaluation.other_task must be another task than task.name; got {other!r}")
        judged, drawn = self.finetune.search.num_draws, self.demonstrations.num_draws
        if judged is not None and judged > drawn:
            raise ValueError(
                f"finetune.search.num_draws must be at most demonstrations.num_draws ({drawn}), got {judged}"
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
    notes += notes_on_overlong(len(queries), len(original.queries), model.max_length, config.trainer)
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
    trainer = asking_trainer(context, notes)
    with interruptible(trainer):
        if search is not None:
            trainer.validate(*search, verbose=False)
            module.learning_rate = search[0].found
        trainer.fit(module, data)
        trainer.test(module, data, verbose=False)
    if directory is not None:
        write_predictions(directory, prediction_rows(module.answered()))
        for name, record in records(module).items():
            directory.write_analysis(name, record, made_with={})
    found = search[0].results if search is not None else {}
    if config.task.overlong == "drop":
        found = {**found, "overlong_queries": float(num_overlong)}
    models = [item.model for item in module.comparisons]
    return {**module.results, **found, **costs(trainer, models, len(data.prompts[0].queries), module.seconds)}


def records(module: DualFormModule) -> dict[str, Record]:
    """Return what a run keeps beside its numbers and answers, as ``analysis/NAME.json``."""
    return {TO_DEMONSTRATIONS: module.attention_record()}


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

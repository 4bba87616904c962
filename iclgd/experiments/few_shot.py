"""How often a language model is right on a text task, against the number of demonstrations in its context."""

from dataclasses import dataclass, field

from iclgd.analysis.answers import prediction_rows
from iclgd.analysis.original import Original
from iclgd.data.prompts import DemonstrationsConfig
from iclgd.data.text import TextTaskConfig
from iclgd.data.text_datamodule import TextDataModule
from iclgd.experiments.model_placement import check_placement
from iclgd.experiments.protocol import Experiment, RunContext
from iclgd.experiments.text import check_tokens, peak_memory, read_task
from iclgd.models.loading import LanguageModelConfig, load_language_model, load_tokenizer
from iclgd.modules.few_shot import FewShotConfig, FewShotModule
from iclgd.report.few_shot import accuracy_by_demonstrations, few_shot_table
from iclgd.report.figures import Draw
from iclgd.report.titles import of_text
from iclgd.runtime.participants import Participants
from iclgd.runtime.stopping import interruptible
from iclgd.runtime.text_progress import TextProgress
from iclgd.runtime.trainer import DeviceConfig, make_trainer
from iclgd.terminal import say
from iclgd.tracking.predictions import write_predictions
from iclgd.tracking.wandb import TrackingConfig

FIGURES: dict[str, Draw] = {"accuracy_by_demonstrations": accuracy_by_demonstrations}


@dataclass(frozen=True)
class Config:
    """The accuracy of a language model against the number of demonstrations."""

    experiment: str = "few_shot"
    """Which experiment."""
    seed: int = 0
    """Seed of random weights; demonstrations.seed draws the demonstrations."""
    model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    task: TextTaskConfig = field(default_factory=TextTaskConfig)
    demonstrations: DemonstrationsConfig = field(default_factory=DemonstrationsConfig)
    evaluation: FewShotConfig = field(default_factory=FewShotConfig)
    trainer: DeviceConfig = field(default_factory=DeviceConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if min(self.evaluation.numbers) > self.demonstrations.num:
            raise ValueError(
                f"evaluation.numbers {self.evaluation.numbers} are all more than demonstrations.num, "
                f"{self.demonstrations.num}"
            )
        check_placement(self.model, self.trainer)
        num_processes = self.trainer.devices * self.trainer.num_nodes
        if self.task.num_queries is not None and self.task.num_queries < num_processes:
            raise ValueError(
                f"task.num_queries must be at least trainer.devices x trainer.num_nodes ({num_processes}), "
                f"got {self.task.num_queries}"
            )


Prepared = tuple[TextDataModule, FewShotModule, list[str]]


def prepare(config: Config) -> Prepared:
    """Return an experiment's data and module, and what to tell the user.

    Raises:
        TextTaskError: if a task or its data cannot be read.
        PromptError: if prompts cannot be built.
        LanguageModelError: if the model cannot be loaded or looked into.
    """
    task, rows, queries = read_task(config.task)
    tokenizer = load_tokenizer(config.model)
    model = load_language_model(config.model, config.seed)
    if config.trainer.precision == "64-true":
        model.model.double()  # as the Trainer will: what cannot be run so is found now
    original = Original(model, tokenizer, task, (), queries, config.demonstrations, config.seed)
    prompts = [original.drawn_again(draw, rows).prompts() for draw in range(config.demonstrations.num_draws)]
    for each in prompts:
        check_tokens(model, each)
    notes = [note for each in prompts for note in each.notes]
    most = min(len(each.demonstrations) for each in prompts)
    numbers = [number for number in config.evaluation.numbers if number <= most]
    if passed_over := [number for number in config.evaluation.numbers if most < number <= config.demonstrations.num]:
        notes.append(f"not asked after {passed_over} demonstrations: {most} fit in every draw")
    data = TextDataModule(prompts, config.evaluation.batch_size)
    return data, FewShotModule(model, prompts, numbers), list(dict.fromkeys(notes))


def execute(context: RunContext[Config], prepared: Prepared) -> dict[str, float]:
    """Ask all queries after each number of demonstrations, and return the summary; there are no checkpoints."""
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
        trainer.test(module, data, verbose=False)
    if directory is not None:
        write_predictions(directory, prediction_rows(module.answered()))
    speed = len(data.prompts[0].queries) / module.seconds
    memory = peak_memory({trainer.strategy.root_device})
    return {**module.results, "queries_per_second": speed, "peak_memory_bytes": float(memory)}


EXPERIMENT = Experiment(
    config=Config,
    prepare=prepare,
    execute=execute,
    needs_memory="evaluation.batch_size, demonstrations.num or demonstrations.num_draws, or take a smaller model",
    figures=FIGURES,
    title=of_text,
    table=few_shot_table,
)

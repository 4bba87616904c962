"""How often a language model is right on a text task, against the number of demonstrations in its context."""

from dataclasses import dataclass, field

from iclgd.analysis.answers import prediction_rows
from iclgd.analysis.original import Original
from iclgd.data.prompts import DemonstrationsConfig
from iclgd.data.text import TextTaskConfig
from iclgd.data.text_datamodule import TextDataModule
from iclgd.experiments.asking import asking_trainer, check_asking, check_tokens, costs, notes_on_overlong
from iclgd.experiments.protocol import Experiment, RunContext
from iclgd.experiments.text import read_task
from iclgd.models.loading import LanguageModelConfig, load_language_model, load_tokenizer
from iclgd.modules.few_shot import FewShotConfig, FewShotModule
from iclgd.report.few_shot import accuracy_by_demonstrations, few_shot_table
from iclgd.report.figures import Draw
from iclgd.report.titles import of_text
from iclgd.runtime.stopping import interruptible
from iclgd.runtime.trainer import DeviceConfig
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
        check_asking(self.seed, self.model, self.task, self.trainer)
        if self.demonstrations.num_orders != 1:
            raise ValueError(
                f"demonstrations.num_orders must be 1 with experiment=few_shot, got {self.demonstrations.num_orders}"
            )
        if min(self.evaluation.numbers) > self.demonstrations.num:
            raise ValueError(
                f"evaluation.numbers {self.evaluation.numbers} are all more than demonstrations.num, "
                f"{self.demonstrations.num}"
            )


Prepared = tuple[TextDataModule, FewShotModule, list[str], int]  # the last: how many queries are left out


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
    draws = [original.drawn_again(draw, rows) for draw in range(config.demonstrations.num_draws)]
    original, _, prompts = original.of_fitting_queries(draws, config.task.overlong == "drop")
    for each in prompts:
        check_tokens(model, each)
    notes = [note for each in prompts for note in each.notes]
    notes += notes_on_overlong(len(queries), len(original.queries), model.max_length, config.trainer)
    most = min(len(each.demonstrations) for each in prompts)
    numbers = [number for number in config.evaluation.numbers if number <= most]
    if passed_over := [number for number in config.evaluation.numbers if most < number <= config.demonstrations.num]:
        notes.append(f"not asked after {passed_over} demonstrations: {most} fit in every draw")
    data = TextDataModule(prompts, config.evaluation.batch_size)
    num_overlong = len(queries) - len(original.queries)
    return data, FewShotModule(model, prompts, numbers), list(dict.fromkeys(notes)), num_overlong


def execute(context: RunContext[Config], prepared: Prepared) -> dict[str, float]:
    """Ask all queries after each number of demonstrations, and return the summary; there are no checkpoints."""
    data, module, notes, num_overlong = prepared
    trainer = asking_trainer(context, notes)
    with interruptible(trainer):
        trainer.test(module, data, verbose=False)
    if context.directory is not None:
        write_predictions(context.directory, prediction_rows(module.answered()))
    found = {"overlong_queries": float(num_overlong)} if context.config.task.overlong == "drop" else {}
    return {**module.results, **found, **costs(trainer, [module.model], len(data.prompts[0].queries), module.seconds)}


EXPERIMENT = Experiment(
    config=Config,
    prepare=prepare,
    execute=execute,
    needs_memory="evaluation.batch_size, demonstrations.num or demonstrations.num_draws, or take a smaller model",
    figures=FIGURES,
    title=of_text,
    table=few_shot_table,
)

"""Language modelling: train a small language model that learns in its context."""

import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from omegaconf import MISSING
from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import GPT2LMHeadModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from iclgd.data.corpus import CorpusConfig, open_corpus
from iclgd.data.corpus_datamodule import CorpusDataModule
from iclgd.data.few_shot_language import FewShotLanguageConfig
from iclgd.data.language import LanguageConfig
from iclgd.data.language_datamodule import LanguageDataModule
from iclgd.data.seeding import named_generator
from iclgd.experiments.protocol import ChosenGroup, Experiment, RunContext
from iclgd.files import made_whole
from iclgd.memory import Need, check
from iclgd.models.gpt import GPTConfig, build_gpt, name_special_tokens
from iclgd.models.loading import LanguageModelConfig, load_language_model, load_named_tokenizer
from iclgd.models.sampling import sample_texts
from iclgd.modules.language_modeling import EvaluationConfig, LanguageModelingModule, TrainingConfig, shown_numbers
from iclgd.report.figures import Draw
from iclgd.report.language_figures import learning_to_learn, perplexity_by_length
from iclgd.report.titles import of_language_modeling
from iclgd.runtime.checkpointing import KeepCheckpoints, WholeWeights
from iclgd.runtime.participants import Participants
from iclgd.runtime.progress import TrainingProgress
from iclgd.runtime.recording import MetricsRecorder, Stopwatch
from iclgd.runtime.throughput import utilization
from iclgd.runtime.trainer import ShardedTrainerConfig, check_compiler, make_trainer, train_and_test
from iclgd.tracking.run_directory import MODEL_FOLDER, RunDirectory, RunDirectoryError, runs_folder
from iclgd.tracking.wandb import TrackingConfig

LANGUAGES: dict[str, Any] = {"few_shot": FewShotLanguageConfig, "corpus": CorpusConfig}
SAMPLES = "samples.txt"
CORPORA = ".corpora"  # beside the runs: texts as tokens
FIGURES: dict[str, Draw] = {"learning_to_learn": learning_to_learn, "perplexity_by_length": perplexity_by_length}


@dataclass(frozen=True)
class Config:
    """A language modelling experiment: train a small GPT-2 on a language of demonstrations."""

    experiment: str = "language_modeling"
    """Which experiment."""
    seed: int = 0
    """Seed of everything random."""
    task: LanguageConfig = MISSING
    """What is learned; task.name chooses it, few_shot if it is not said."""
    model: GPTConfig = field(default_factory=GPTConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    trainer: ShardedTrainerConfig = MISSING
    """Where and for how long to train."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if self.evaluation.lengths and not isinstance(self.task, CorpusConfig):
            raise ValueError("evaluation.lengths needs task.name=corpus: other sequences have a length of their own")
        if (longest := max(self.evaluation.lengths, default=0)) > self.model.context_length:
            raise ValueError(
                f"evaluation.lengths must be at most model.context_length ({self.model.context_length}) each, "
                f"got {longest}"
            )
        if self.task.num_tokens > self.model.context_length:
            raise ValueError(
                f"model.context_length must be at least the {self.task.num_tokens} tokens of a sequence, "
                f"got {self.model.context_length}"
            )
        num_processes, processes = self.trainer.devices * self.trainer.num_nodes, "trainer.devices x trainer.num_nodes"
        num_parts = num_processes * self.training.accumulation
        for key, value, divisor, what in (
            ("training.batch_size", self.training.batch_size, num_parts, f"{processes} x training.accumulation"),
            ("evaluation.num_sequences", self.evaluation.num_sequences, num_processes, processes),
        ):
            if value % divisor:
                raise ValueError(f"{key} must be a multiple of {what} ({divisor}), got {value}")


Data = LanguageDataModule | CorpusDataModule
Prepared = tuple[Data, LanguageModelingModule]


def prepare(config: Config) -> Prepared:
    """Return an experiment's data and model.

    Raises:
        TooLargeError: if this machine's memory cannot hold them.
        InputError: if a corpus or its tokenizer cannot be used, or there is no compiler for ``trainer.compile``.
    """
    check_compiler(config.trainer)
    check(_memory_needs(config), config.trainer.lightning_accelerator == "gpu")
    data = _data(config)
    module = LanguageModelingModule(
        _model(config, data),
        config.training,
        config.task.name,
        data.lengths,
        config.trainer.compile,
        fused=isinstance(config.task, CorpusConfig),  # the embedded model keeps the bits that it was trained to
    )
    return data, module


def _model(config: Config, data: Data) -> GPT2LMHeadModel:
    model = build_gpt(config.model, data.vocabulary_size, named_generator(config.seed, "initialization"))
    name_special_tokens(model, data.make_tokenizer(config.model.context_length))
    return model


def _data(config: Config) -> Data:
    task = config.task
    if isinstance(task, CorpusConfig):
        return CorpusDataModule(
            open_corpus(task, runs_folder() / CORPORA, lambda name: load_named_tokenizer(name, "task.tokenizer")),
            task.num_tokens,
            config.evaluation.lengths,
            config.seed,
            batch_size=config.training.batch_size,
            steps_per_epoch=config.evaluation.every_num_steps,
            num_evaluation_sequences=config.evaluation.num_sequences,
            num_processes=config.trainer.devices * config.trainer.num_nodes,
            accumulation=config.training.accumulation,
        )
    assert isinstance(task, FewShotLanguageConfig)
    return LanguageDataModule(
        task,
        config.seed,
        batch_size=config.training.batch_size,
        steps_per_epoch=config.evaluation.every_num_steps,
        num_evaluation_sequences=config.evaluation.num_sequences,
        growth_steps=config.training.growth_steps,
        accumulation=config.training.accumulation,
    )


def _memory_needs(config: Config) -> list[Need]:
    """Return what training holds in memory at the least: hidden states and logits of a batch, and the model."""
    model, vocabulary = config.model, config.task.least_vocabulary_size
    num_parameters = model.hidden_size * (12 * model.num_layers * model.hidden_size + vocabulary + model.context_length)
    of_sequence = config.task.num_tokens * (8 * model.num_layers * model.hidden_size + vocabulary)
    num_processes = config.trainer.devices * config.trainer.num_nodes
    num_parts = num_processes * config.training.accumulation
    batch, evaluated = config.training.batch_size, config.evaluation.num_sequences
    return [
        Need(4 * of_sequence * batch / num_parts, f"a batch of {batch:,} sequences", "training.batch_size"),
        Need(8 * config.task.num_tokens * evaluated, f"{evaluated:,} sequences", "evaluation.num_sequences"),
        Need(
            16 * num_parameters,
            f"a model of {num_parameters:,} parameters",
            "model.num_layers, model.hidden_size or model.context_length",
        ),
    ]


def execute(context: RunContext[Config], prepared: Prepared) -> dict[str, float]:
    """Train; on the first process also write the trained model in Hugging Face's form, as ``model/``, and texts of it.

    Returns the summary.
    """
    config, directory = context.config, context.directory
    data, module = prepared
    stopwatch, whole = Stopwatch(), WholeWeights()
    trainer = make_trainer(
        config.trainer,
        checkpoints=KeepCheckpoints(directory),
        loggers=context.loggers,
        callbacks=[
            Participants(config, context.checkpoint, directory),
            stopwatch,
            MetricsRecorder(),
            whole,
            TrainingProgress(shown_quantities(config.task)),
        ],
        launch=context.launch,
        accumulation=config.training.accumulation,
    )
    summary = train_and_test(trainer, module, data, context.checkpoint)
    device = trainer.strategy.root_device
    if directory is not None:
        model, tokenizer = module.model, data.make_tokenizer(config.model.context_length)
        if isinstance(model, FSDPModule):
            model = _model(config, data)
            model.load_state_dict({name.removeprefix("model."): weight for name, weight in whole.weights.items()})
        if (number := config.evaluation.num_samples) and math.isfinite(summary["val/loss"]):
            generator = named_generator(config.seed, "samples")
            texts = sample_texts(model.to(device), tokenizer, number, config.task.num_tokens, generator)
            directory.write_text(SAMPLES, "".join(f"--- sample {n}\n{text}\n" for n, text in enumerate(texts, 1)))
        write_model(model, tokenizer, directory.path / MODEL_FOLDER)
    return {**summary, **_speeds(module, stopwatch, trainer.world_size, device, config.trainer.precision)}


def _speeds(
    module: LanguageModelingModule, stopwatch: Stopwatch, num_processes: int, device: torch.device, precision: str
) -> dict[str, float]:
    seconds = stopwatch.seconds or math.nan
    speeds = {
        "train/steps_per_second": stopwatch.steps_per_second,
        "train/tokens_per_second": module.num_tokens * num_processes / seconds,
    }
    share = utilization(module.num_flops / seconds, device, precision)
    return speeds if share is None else {**speeds, "train/model_flops_utilization": share}


def shown_quantities(task: LanguageConfig) -> dict[str, str]:
    """Return what the line of progress shows, short enough for 120 columns.

    Example:
        >>> shown_quantities(FewShotLanguageConfig(num_demonstrations=2))
        {'loss': 'val/loss', 'accuracy 0:': 'accuracy/0_demonstrations', '1:': 'accuracy/1_demonstrations'}
    """
    if not isinstance(task, FewShotLanguageConfig):
        return {"loss": "val/loss", "perplexity": "val/perplexity"}
    numbers = shown_numbers(task.num_demonstrations)
    accuracies = {f"{'accuracy ' * (n == 0)}{n}:": f"accuracy/{n}_demonstrations" for n in numbers}
    return {"loss": "val/loss", **accuracies}


def models(config: Config, directory: RunDirectory) -> dict[str, nn.Module]:
    """Return the trained model, a Hugging Face one, as ``model``.

    Raises:
        RunDirectoryError: if it is not there.
        LanguageModelError: if it cannot be read.
    """
    folder = directory.path / MODEL_FOLDER
    if not folder.is_dir():
        raise RunDirectoryError(f"{folder}: missing; a run has it once its training has come to the end")
    return {"model": load_language_model(LanguageModelConfig(name=str(folder)), config.seed).model}


def write_model(model: GPT2LMHeadModel, tokenizer: Tokenizer, path: Path) -> None:
    """Write a model and its tokenizer in Hugging Face's form to a folder that appears once it is complete.

    Raises:
        OSError: if it cannot be written.
    """
    transformers.utils.logging.disable_progress_bar()  # of saving, which takes no time
    with made_whole(path) as unfinished:
        model.cpu().save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        shutil.rmtree(path, ignore_errors=True)  # of a run that was interrupted before its summary


EXPERIMENT = Experiment(
    config=Config,
    prepare=prepare,
    execute=execute,
    needs_memory="training.batch_size, evaluation.num_sequences or the sizes of model and task",
    chosen_groups={"task": ChosenGroup("few_shot", LANGUAGES)},
    figures=FIGURES,
    title=of_language_modeling,
    models=models,
)

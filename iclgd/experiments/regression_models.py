"""What a regression run compares and on what, and its trained models: written to its directory, and built again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from iclgd.analysis.learners import make_references
from iclgd.analysis.references import Setting
from iclgd.analysis.subject import Subject
from iclgd.data.datamodules import RegressionDataModule
from iclgd.experiments.weight_files import read_weights
from iclgd.models.transformer import Transformer
from iclgd.tracking.run_directory import RunDirectory

if TYPE_CHECKING:
    from iclgd.experiments.regression import Config


def make_data(config: "Config") -> RegressionDataModule:
    """Return the data of all seeds."""
    return RegressionDataModule(
        config.task,
        range(config.seed, config.seed + config.training.num_seeds),
        batch_size=config.training.batch_size,
        steps_per_epoch=config.evaluation.every_num_steps,
        num_evaluation_tasks=config.evaluation.num_tasks,
    )


def reference_setting(config: "Config", data: RegressionDataModule, seed: int, is_blank: bool = False) -> Setting:
    """Return beside what the references of a seed stand; ``is_blank`` if their weights will be loaded."""
    # References are chosen on the numbers on which they will be evaluated.
    dtype = torch.float64 if config.trainer.precision == "64-true" else torch.float32
    return Setting(
        config.task,
        config.model,
        data.evaluation_batch(seed, dtype),
        seed,
        tuning=config.evaluation.gd_plus_plus,
        num_tuning_steps=config.evaluation.gd_plus_plus_steps,
        ridge_lambda=config.evaluation.ridge_lambda,
        is_blank=is_blank,
    )


def trained_subjects(config: "Config", directory: RunDirectory) -> list[Subject]:
    """Return each seed's models on the CPU with the weights in a run's directory; nothing is trained or tuned again.

    Args:
        config: the run's.
        directory: the run's.

    Raises:
        RunDirectoryError: if the weights are missing or damaged, or not of such models.
    """
    data = make_data(config)
    subjects = [
        Subject(
            seed,
            config.task,
            Transformer(config.model, config.task.input_dim, config.task.output_dim).eval(),
            make_references(reference_setting(config, data, seed, is_blank=True))[0],
        )
        for seed in data.seeds
    ]
    read_weights(directory, models_by_prefix(subjects))
    return subjects


def learned_momenta(transformer: Transformer) -> dict[str, float]:
    """Return the momentum that each layer with weights of its own has learned, by summary names."""
    return {
        "transformer/momentum" + ("" if transformer.config.recurrent else f"/layer_{index:02}"): layer.momentum.item()
        for index, layer in enumerate(transformer.layers, start=1)
        if isinstance(layer.momentum, nn.Parameter)
    }


def by_name(subjects: Sequence[Subject]) -> dict[str, nn.Module]:
    """Return all models by name, of several seeds ``MODEL/seed_S``, as the summary has them."""
    return {
        name + (f"/seed_{subject.seed}" if len(subjects) > 1 else ""): model
        for subject in subjects
        for name, model in _of(subject).items()
    }


def _of(subject: Subject) -> dict[str, nn.Module]:
    return {"transformer": subject.transformer, **subject.references}


def models_by_prefix(subjects: Sequence[Subject]) -> dict[str, nn.Module]:
    """Return all models by what their weights' names begin with."""
    return {
        (f"seed_{subject.seed}/" if len(subjects) > 1 else "") + f"{name}.": model
        for subject in subjects
        for name, model in _of(subject).items()
    }

"""What experiments share that ask a language model the queries of a text task, once and without checkpoints."""

import itertools
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from iclgd.data.prompts import PromptError, Prompts
from iclgd.data.text import TextTaskConfig
from iclgd.experiments.model_placement import check_placement
from iclgd.experiments.protocol import RunContext
from iclgd.models.language import LanguageModel, LanguageModelError
from iclgd.models.loading import LanguageModelConfig
from iclgd.runtime.participants import Participants
from iclgd.runtime.text_progress import TextProgress
from iclgd.runtime.trainer import DeviceConfig, make_trainer
from iclgd.terminal import say


def check_asking(seed: int, model: LanguageModelConfig, task: TextTaskConfig, trainer: DeviceConfig) -> None:
    """Refuse a seed, a model's place and a number of queries that cannot be.

    Raises:
        ValueError: in one line.
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    check_placement(model, trainer)
    num_processes = trainer.devices * trainer.num_nodes
    if task.num_queries is not None and task.num_queries < num_processes:
        raise ValueError(
            f"task.num_queries must be at least trainer.devices x trainer.num_nodes ({num_processes}), "
            f"got {task.num_queries}"
        )


def asking_trainer(context: RunContext[Any], notes: Sequence[str]) -> Trainer:
    """Return the Trainer that asks, and tell the user what there is to know of the prompts."""
    if context.directory is not None:
        for note in notes:
            say(f"note: {note}")
    return make_trainer(
        context.config.trainer,
        checkpoints=None,
        loggers=context.loggers,
        callbacks=[Participants(context.config, context.checkpoint, context.directory), TextProgress()],
        is_replicated=True,
        launch=context.launch,
    )


def notes_on_overlong(num_queries: int, num_kept: int, max_length: int | None, trainer: DeviceConfig) -> list[str]:
    """Return what to tell the user of queries that are left out, if any are.

    Args:
        num_queries: of all.
        num_kept: of those that fit.
        max_length: of the model, in tokens.
        trainer: among whose processes queries are divided.

    Raises:
        PromptError: if there are fewer than processes.
    """
    if num_kept == num_queries or max_length is None:
        return []
    num_processes = trainer.devices * trainer.num_nodes
    if num_kept < num_processes:
        raise PromptError(
            f"task.overlong=drop leaves {num_kept} of {num_queries} queries, which must be at least "
            f"trainer.devices x trainer.num_nodes ({num_processes})"
        )
    return [note_on_overlong(num_queries - num_kept, num_queries, max_length)]


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


def costs(trainer: Trainer, models: Sequence[LanguageModel], num_queries: int, seconds: float) -> dict[str, float]:
    """Return speed and memory by their summary names.

    Args:
        trainer: that has asked; a model that it has brought to its device is back on the CPU.
        models: that were asked.
        num_queries: how many queries.
        seconds: what they took.
    """
    placed = [each.model for each in models if each.is_placed]
    devices = {parameter.device for model in placed for parameter in model.parameters()}
    memory = _peak_memory({trainer.strategy.root_device, *devices})
    return {"queries_per_second": num_queries / seconds, "peak_memory_bytes": float(memory)}


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


def _peak_memory(devices: set[torch.device]) -> int:
    """Return the largest memory that the GPUs, or else this process, have had in use so far, in bytes."""
    if gpus := [device for device in devices if device.type == "cuda"]:
        return sum(torch.cuda.max_memory_allocated(device) for device in gpus)
    status = Path("/proc/self/status")
    if status.exists():  # Linux; getrusage would report the peak of whoever started this process, if that was higher
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS

"""Tokens per second of language model training: our Trainer, a plain loop, nanoGPT's recipe, momentum attention.

Also the attention functions alone. All in one process, a few steps of each in turn; the medians and their ratios count.
One JSON line each, on GPUs that we know with the share of their arithmetic that the model needs. Before anything is
timed, it is checked that the loops take the same training steps.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks._step_by_step import StandStill, Timing, share_memory_among_threads, take_turns, trainer_steps
from benchmarks.peers import nanogpt
from benchmarks.regression import positive
from iclgd import config as configs
from iclgd.data.corpus_datamodule import CorpusDataModule
from iclgd.experiments.language_modeling import Config, prepare
from iclgd.models.momentum import ATTRIBUTE, Momentum, MomentumConfig, attend
from iclgd.runtime.process import prepare_process
from iclgd.runtime.progress import TrainingProgress
from iclgd.runtime.recording import MetricsRecorder, Stopwatch
from iclgd.runtime.throughput import utilization
from iclgd.runtime.trainer import make_trainer

CONFIG = Path(__file__).parents[1] / "configs" / "language_modeling" / "embedded_model.yaml"
SIZES = {  # of the model and of a step
    "tiny": (
        "model={num_layers: 4, num_heads: 4, hidden_size: 128, context_length: 256}",
        "task={num_tokens: 256, vocabulary_size: 2048}",
        "training.batch_size=8",
    ),
    "124M": (  # that of GPT-2 small, and its vocabulary as nanoGPT rounds it up
        "model={num_layers: 12, num_heads: 12, hidden_size: 768, context_length: 1024, init_scale: 0.02}",
        "task={num_tokens: 1024, vocabulary_size: 50304}",
        "training.batch_size=16",
    ),
}
NUM_WORDS = 200_000  # of the generated text
LENGTHS = (256, 1024)  # of sequences, for the attention functions alone
NUM_CHECKED = 4  # steps in which the loops must agree
NUM_CHECKED_SEQUENCES = 2  # of each of them: double precision takes its time
TOLERANCE = 1e-5  # of their losses; the model's logits are in single precision in any case

Batches = Iterator[tuple[Tensor, Tensor]]  # tokens and those that follow, (B, T)


class NextTokenLoss(nn.Module):
    """The mean loss of transformers' GPT-2, whose logits any training of it computes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of the tokens that follow, both (B, T)."""
        logits = self.model(tokens, use_cache=False).logits
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def our_steps(config: Config) -> Iterator[Tensor]:
    """Train with Lightning's Trainer and our callbacks as ``iclgd run`` does, without evaluations and files."""
    data, module = prepare(config)
    stand_still = StandStill()
    callbacks = [stand_still, Stopwatch(), MetricsRecorder(), TrainingProgress({})]
    trainer = make_trainer(config.trainer, None, [], callbacks)
    trainer.limit_val_batches = 0
    return trainer_steps(trainer, module, data, stand_still)


def plain_steps(config: Config) -> Iterator[Tensor]:
    """Train the same model on the same batches in a bare loop."""
    data, module = prepare(config)
    return bare_steps(NextTokenLoss(module.model.train()), our_batches(data, config), config)


def peer_steps(config: Config, batches: Batches) -> Iterator[Tensor]:
    """Train the peer from the same weights."""
    data, module = prepare(config)
    model = nanogpt.GPT(config.model, data.vocabulary_size)
    model.copy_from(module.model)
    return bare_steps(model, batches, config)


def bare_steps(model: nn.Module, batches: Batches, config: Config) -> Iterator[Tensor]:
    """Train a model in a bare loop."""
    precision = config.trainer.precision
    model.to(device_of(config), torch.double if precision == "64-true" else None)
    if config.trainer.compile:
        model.compile()
    return nanogpt.steps(model, batches, config.training, config.trainer.max_steps, precision == "bf16-mixed")


def our_batches(data: Any, config: Config) -> Batches:
    """Yield the batches that our Trainer gets."""
    assert isinstance(data, CorpusDataModule)
    size = config.training.batch_size
    for step in itertools.count():
        tokens = data.windows.batch(step, size, slice(size)).tokens.to(device_of(config))
        yield tokens[:, :-1], tokens[:, 1:]


def device_of(config: Config) -> torch.device:
    """Return where to compute."""
    return torch.device("cuda" if config.trainer.lightning_accelerator == "gpu" else "cpu")


def check_loops(config: Config) -> float:
    """Make sure that all loops take the same training steps; return the largest relative difference of their losses.

    In double precision, without the decay of weights: the peer lets positions decay, too.
    """
    size = min(NUM_CHECKED_SEQUENCES, config.training.batch_size)
    training = replace(config.training, batch_size=size, weight_decay=0.0, warmup_steps=0, schedule="constant")
    trainer = replace(config.trainer, precision="64-true", compile=False, max_steps=NUM_CHECKED)
    config = replace(config, training=training, trainer=trainer)
    data, _ = prepare(config)
    ours, plain, peer = (
        torch.stack(list(steps))
        for steps in (our_steps(config), plain_steps(config), peer_steps(config, our_batches(data, config)))
    )
    largest = 0.0
    for name, losses in (("plain loop", plain), ("peer", peer)):
        difference = float(((losses - ours) / ours).abs().max())
        if not difference < TOLERANCE:
            raise RuntimeError(f"the {name} computes something else: relative difference of losses {difference:.1e}")
        largest = max(largest, difference)
    return largest


def training_loops(config: Config, tokens: Path) -> dict[str, Iterator[Tensor]]:
    """Return our Trainer and what it is compared with.

    Args:
        config: of the training.
        tokens: the peer's file, the same text.
    """
    length, batch_size = config.task.num_tokens, config.training.batch_size
    return {
        "trainer": our_steps(config),
        "plain_loop": plain_steps(config),
        "nanogpt": peer_steps(config, nanogpt.windows(tokens, length, batch_size, device_of(config), config.seed)),
    }


def attention_loops(config: Config) -> dict[str, Iterator[Tensor]]:
    """Return the same Trainer with momentum attention and with plain attention."""
    return {
        name: our_steps(replace(config, model=replace(config.model, attention=name)))
        for name in ("momentum", "softmax")
    }


def function_loops(config: Config, length: int) -> dict[str, Iterator[Tensor]]:
    """Return attention with momentum and plain attention alone, as one layer has them, on sequences of a length."""
    return {name: function_steps(config, length, name == "momentum") for name in ("momentum", "softmax")}


def function_steps(config: Config, length: int, has_momentum: bool) -> Iterator[Tensor]:
    """Attend and compute the gradients of queries, keys and values, over and over; yield the results."""
    model, layer = config.model, nn.Module()
    if has_momentum:
        setattr(layer, ATTRIBUTE, Momentum(MomentumConfig(model.momentum), model.num_heads))
    dtype = torch.bfloat16 if config.trainer.precision.startswith("bf16") else torch.float32
    shape = (config.training.batch_size, model.num_heads, length, model.hidden_size // model.num_heads)
    query, key, value = (torch.randn(shape, dtype=dtype, device=device_of(config), requires_grad=True) for _ in "qkv")
    while True:
        result, _ = attend(layer, query, key, value, None)
        torch.autograd.grad(result, (query, key, value), torch.ones_like(result))
        yield result.detach()


def report(timings: dict[str, list[Timing]], benchmark: str, num_tokens: int) -> list[dict[str, Any]]:
    """Return a record for each loop, with the median over turns of the first one's speed relative to it.

    Args:
        timings: as from :func:`benchmarks._step_by_step.take_turns`.
        benchmark: its name.
        num_tokens: of a turn.
    """
    (first, ours), *_ = timings.items()
    records = []
    for name, theirs in timings.items():
        speeds = [num_tokens / timing.seconds for timing in theirs]
        records.append(
            {
                "benchmark": f"lm/{benchmark}",
                "loop": name,
                "tokens_per_second": round(statistics.median(speeds), 1),
                "minimum": round(min(speeds), 1),
                "maximum": round(max(speeds), 1),
                "turns": len(theirs),
                f"{first}_is_times_as_fast": median_ratio(ours, theirs, lambda timing: timing.seconds),
                "processor_time_ratio": median_ratio(ours, theirs, lambda timing: timing.processor),
                "torch_threads": torch.get_num_threads(),
            }
        )
    return records


def median_ratio(ours: list[Timing], theirs: list[Timing], clock: Callable[[Timing], float]) -> float:
    """Return the median over turns of how many times longer the others take."""
    return round(statistics.median(clock(other) / clock(own) for own, other in zip(ours, theirs, strict=True)), 3)


def write_text(folder: Path) -> None:
    """Write a corpus of words that do not exist, in no order: speed does not depend on what it says."""
    generator = random.Random(0)
    syllables = [first + second for first in "bdfgklmnprst" for second in "aeiou"]
    words = ["".join(generator.choices(syllables, k=generator.randint(1, 4))) for _ in range(5000)]
    for split, number in (("train", NUM_WORDS), ("validation", NUM_WORDS // 10)):
        (folder / f"{split}.txt").write_text(" ".join(generator.choices(words, k=number)))


def write_tokens(path: Path, config: Config) -> None:
    """Write the training text as the peer reads it, 16 bits a token."""
    data, _ = prepare(config)
    assert isinstance(data, CorpusDataModule)
    text = data.corpus.train
    text.windows([0], text.num_tokens).astype(np.uint16).tofile(path)


def load(options: argparse.Namespace, folder: Path) -> Config:
    """Return a checked config of the training that is measured, on a text that is written to a folder."""
    write_text(folder)
    keys = [
        f"task={{name: corpus, data_dir: {folder}}}",
        *SIZES[options.size],
        "training={growth_steps: 0, warmup_steps: 10}",
        f"trainer.max_steps={options.warm_up + options.turns * options.steps}",
        f"trainer.compile={options.compile}",
        f"trainer.precision={options.precision}",
        f"trainer.accelerator={options.accelerator}",
        f"trainer.num_threads={options.threads}",
    ]
    if options.batch_size is not None:
        keys.append(f"training.batch_size={options.batch_size}")
    config = configs.load(CONFIG, keys)
    assert isinstance(config, Config)
    return config


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="iclgd bench lm", description=__doc__)
    what = ("training", "attention", "function")
    parser.add_argument("--what", nargs="+", choices=what, default=what, help="(default: all)")
    parser.add_argument("--size", choices=SIZES, default="tiny", help="of the model (default: tiny)")
    parser.add_argument("--turns", type=positive, default=15, help="of each loop (default: 15)")
    parser.add_argument("--steps", type=positive, default=1, help="training steps of a turn (default: 1)")
    parser.add_argument("--warm-up", type=positive, default=3, help="first steps, not timed (default: 3)")
    parser.add_argument("--batch-size", type=positive, help="(default: that of the size)")
    parser.add_argument("--compile", action="store_true", help="make kernels of the models with torch.compile")
    parser.add_argument("--precision", default="bf16-mixed", help="of all loops (default: bf16-mixed)")
    parser.add_argument("--accelerator", default="cpu", help="cpu or gpu (default: cpu)")
    parser.add_argument("--threads", type=positive, default=1, help="of PyTorch (default: 1)")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse(sys.argv[1:])
    prepare_process(options.threads)
    share_memory_among_threads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["ICLGD_RUNS"] = name  # where corpora are kept
        config = load(options, folder)
        with contextlib.redirect_stderr(io.StringIO()):  # progress of trainings that are cut into turns
            for record in measure(config, options, folder):
                print(json.dumps(record), flush=True)
    return 0


def measure(config: Config, options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of what is asked for."""

    def timed(loops: dict[str, Iterator[Tensor]], benchmark: str, length: int) -> list[dict[str, Any]]:
        timings = take_turns(loops, options.steps, options.turns, options.warm_up, device_of(config))
        return report(timings, f"{options.size}/{benchmark}", options.steps * config.training.batch_size * length)

    length = config.task.num_tokens
    flops_per_token = prepare(config)[1].flops_per_token(length)

    def share(record: dict[str, Any]) -> dict[str, float]:
        flops = record["tokens_per_second"] * flops_per_token
        share = utilization(flops, device_of(config), config.trainer.precision)
        return {} if share is None else {"model_flops_utilization": round(share, 4)}

    if "training" in options.what:
        difference = check_loops(config)
        tokens = folder / "tokens.bin"
        write_tokens(tokens, config)
        for record in timed(training_loops(config, tokens), "training", length):
            yield {**record, **share(record), "largest_difference_of_losses": float(f"{difference:.1e}")}
    if "attention" in options.what:
        for record in timed(attention_loops(config), "attention", length):
            yield {**record, **share(record)}
    if "function" in options.what:
        for each in LENGTHS:
            yield from timed(function_loops(config, each), f"function_{each}", each)


if __name__ == "__main__":
    sys.exit(main())

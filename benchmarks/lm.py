"""Tokens per second of language model training: our Trainer, a plain loop, nanoGPT's recipe, momentum attention.

All in one process, one after the other, several times over; the medians and their ratios count. One JSON line each.
Before anything is timed, the loops must take the same training steps.
"""

import argparse
import contextlib
import io
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from benchmarks.peers import nanogpt
from benchmarks.regression import positive
from iclgd import config as configs
from iclgd.data.language_datamodule import training_batch
from iclgd.experiments.language_modeling import Config, prepare
from iclgd.runtime.process import prepare_process
from iclgd.runtime.progress import TrainingProgress
from iclgd.runtime.recording import MetricsRecorder, Stopwatch, wait_for
from iclgd.runtime.trainer import make_trainer

CONFIG = Path(__file__).parents[1] / "configs" / "language_modeling" / "embedded_model.yaml"
NUM_WARM_UP = 2  # first steps, not timed: they fill caches of memory and kernels
NUM_CHECKED = 4  # steps in which the loops must agree
TOLERANCE = 1e-5


Loops = dict[str, Callable[[], "Timing"]]
Batches = Iterator[tuple[Tensor, Tensor]]  # tokens and those that follow, (B, T)


@dataclass(frozen=True)
class Timing:
    """Seconds of a loop's steps, and of the processor for them: what it does for others is not in those."""

    seconds: float
    processor: float


class Clock(Callback):
    """Times a training from the end of its warm-up to its last step, without a pause; keeps the losses."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.start = now()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: object) -> None:
        """Start the clock, when the device has done its work."""
        self.losses.append(outputs["loss"])
        if trainer.global_step == NUM_WARM_UP:
            wait_for(trainer.strategy.root_device)
            self.start = now()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        wait_for(trainer.strategy.root_device)
        self.timing = since(self.start)


class NextTokenLoss(nn.Module):
    """The mean loss of transformers' GPT-2, as its own class computes it on the whole vocabulary."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of the tokens that follow, both (B, T)."""
        logits = self.model(tokens, use_cache=False).logits
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def now() -> Timing:
    """Return both clocks."""
    return Timing(time.perf_counter(), time.process_time())


def since(start: Timing) -> Timing:
    """Return what has passed."""
    stop = now()
    return Timing(stop.seconds - start.seconds, stop.processor - start.processor)


def trainer_loop(config: Config) -> Clock:
    """Train with Lightning's Trainer and our callbacks as ``iclgd run`` does, without evaluations and files."""
    data, module = prepare(config)
    clock = Clock()
    callbacks = [clock, Stopwatch(), MetricsRecorder(), TrainingProgress({"loss": "train/loss"})]
    trainer = make_trainer(config.trainer, None, [], callbacks)
    trainer.limit_val_batches = 0
    with contextlib.redirect_stderr(io.StringIO()):
        trainer.fit(module, data)
    return clock


def plain_steps(config: Config) -> Iterator[Tensor]:
    """Train the same model on the same batches in a bare loop; yield the losses."""
    _, module = prepare(config)
    return steps_of(NextTokenLoss(module.model.train()), our_batches(config), config)


def peer_steps(config: Config, batches: Batches) -> Iterator[Tensor]:
    """Train the peer from the same weights; yield the losses."""
    _, module = prepare(config)
    model = nanogpt.GPT(config.model, len(config.task.vocabulary))
    model.copy_from(module.model)
    return steps_of(model, batches, config)


def steps_of(model: nn.Module, batches: Batches, config: Config) -> Iterator[Tensor]:
    """Train a model in a bare loop; yield the losses."""
    precision = config.trainer.precision
    model.to(device_of(config), torch.double if precision == "64-true" else None)
    return nanogpt.steps(model, batches, config.training, config.trainer.max_steps, precision == "bf16-mixed")


def our_batches(config: Config) -> Batches:
    """Yield the batches that our Trainer gets."""
    for step in itertools.count():
        tokens, _ = training_batch(config.task, config.seed, step, config.training.batch_size, device=device_of(config))
        yield tokens[:, :-1], tokens[:, 1:]


def device_of(config: Config) -> torch.device:
    """Return where to compute."""
    return torch.device("cuda" if config.trainer.lightning_accelerator == "gpu" else "cpu")


def timed(losses: Iterator[Tensor], device: torch.device) -> Timing:
    """Time the steps after the warm-up."""
    for _ in itertools.islice(losses, NUM_WARM_UP):
        pass
    wait_for(device)
    start = now()
    for _ in losses:
        pass
    wait_for(device)
    return since(start)


def check_loops(config: Config) -> float:
    """Make sure that all loops take the same training steps; return the largest relative difference of their losses.

    In double precision, without the decay of weights: the peer lets positions decay, too.
    """
    training = replace(config.training, weight_decay=0.0, warmup_steps=0, schedule="constant")
    trainer = replace(config.trainer, precision="64-true", max_steps=NUM_CHECKED)
    config = replace(config, training=training, trainer=trainer)
    ours = torch.stack(trainer_loop(config).losses)
    largest = 0.0
    for name, losses in (("plain loop", plain_steps(config)), ("peer", peer_steps(config, our_batches(config)))):
        difference = ((torch.stack(list(losses)) - ours) / ours).abs().max().item()
        if not difference < TOLERANCE:
            raise RuntimeError(f"the {name} computes something else: relative difference of losses {difference:.1e}")
        largest = max(largest, difference)
    return largest


def training_loops(config: Config, tokens: Path) -> Loops:
    """Return our Trainer and what it is compared with."""
    device, length = device_of(config), config.task.num_tokens - 1

    def peer() -> Timing:
        drawn = nanogpt.windows(tokens, length, config.training.batch_size, device, config.seed)
        return timed(peer_steps(config, drawn), device)

    return {
        "trainer": lambda: trainer_loop(config).timing,
        "plain_loop": lambda: timed(plain_steps(config), device),
        "nanogpt": peer,
    }


def measure(loops: Loops, repeats: int) -> dict[str, list[Timing]]:
    """Run the loops one after the other, several times over."""
    measured: dict[str, list[Timing]] = {name: [] for name in loops}
    for _ in range(repeats):
        for name, loop in loops.items():
            measured[name].append(loop())
    return measured


def report(measured: dict[str, list[Timing]], benchmark: str, num_tokens: int) -> list[dict[str, Any]]:
    """Return a record for each loop, with the median over repeats of the first one's speed relative to it.

    Args:
        measured: as from :func:`measure`.
        benchmark: its name.
        num_tokens: of one measurement.
    """
    (first, ours), *_ = measured.items()
    records = []
    for name, timings in measured.items():
        speeds = [num_tokens / timing.seconds for timing in timings]
        records.append(
            {
                "benchmark": f"lm/{benchmark}",
                "loop": name,
                "tokens_per_second": round(statistics.median(speeds), 1),
                "minimum": round(min(speeds), 1),
                "maximum": round(max(speeds), 1),
                "repeats": len(timings),
                f"{first}_is_times_as_fast": median_ratio(ours, timings, "seconds"),
                f"{first}_is_times_as_fast_in_processor_time": median_ratio(ours, timings, "processor"),
                "torch_threads": torch.get_num_threads(),
            }
        )
    return records


def median_ratio(ours: list[Timing], theirs: list[Timing], clock: str) -> float:
    """Return the median over repeats of how many times longer the others take."""
    pairs = zip(ours, theirs, strict=True)
    return round(statistics.median(getattr(other, clock) / getattr(own, clock) for own, other in pairs), 3)


def load(keys: list[str]) -> Config:
    """Return a checked config."""
    config = configs.load(CONFIG, keys)
    assert isinstance(config, Config)
    return config


def main() -> int:
    options = parse(sys.argv[1:])
    prepare_process(options.threads)
    config = load(
        [
            *("training.growth_steps=0", "training.label_weight=0", "training.batch_size=8"),
            f"trainer.accelerator={options.accelerator}",
            f"trainer.num_threads={options.threads}",
            f"trainer.precision={options.precision}",
            f"trainer.max_steps={options.steps + NUM_WARM_UP}",
        ]
    )
    difference = check_loops(config)
    num_tokens = options.steps * config.training.batch_size * (config.task.num_tokens - 1)
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens.bin"
        np.random.default_rng(0).integers(len(config.task.vocabulary), size=2**20).astype(np.uint16).tofile(tokens)
        for record in report(measure(training_loops(config, tokens), options.repeats), options.size, num_tokens):
            print(json.dumps({**record, "largest_difference_of_losses": float(f"{difference:.1e}")}), flush=True)
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="iclgd bench lm", description=__doc__)
    parser.add_argument("--size", choices=("tiny", "124M"), default="tiny", help="(default: tiny)")
    parser.add_argument("--steps", type=positive, default=6, help="training steps of one measurement (default: 6)")
    parser.add_argument("--repeats", type=positive, default=7, help="of each loop, interleaved (default: 7)")
    parser.add_argument("--accelerator", default="cpu", help="cpu or gpu (default: cpu)")
    parser.add_argument("--precision", default="bf16-mixed", help="of all loops (default: bf16-mixed)")
    parser.add_argument("--threads", type=positive, default=1, help="of PyTorch (default: 1)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

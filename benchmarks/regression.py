"""Training steps per second of the regression experiments: our Trainer, a plain PyTorch loop, a JAX peer.

All in one process, one after the other, several times over; the medians and their ratios count. One JSON line each.
"""

import argparse
import contextlib
import importlib.util
import io
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from iclgd import config as configs
from iclgd.analysis.gradients import add_gradients, clip_by_global_norm
from iclgd.data import LinearRegressionTask
from iclgd.data.datamodules import TaskStream
from iclgd.data.seeding import named_generator
from iclgd.experiments.regression import Config as RegressionConfig
from iclgd.experiments.regression import prepare
from iclgd.models.learners import best_learning_rate
from iclgd.modules.regression import RegressionModule
from iclgd.runtime.process import prepare_process
from iclgd.runtime.progress import TrainingProgress
from iclgd.runtime.recording import MetricsRecorder, Stopwatch
from iclgd.runtime.trainer import make_trainer

CONFIGS = Path(__file__).parents[1] / "configs" / "regression"
CONFIG = CONFIGS / "one_layer.yaml"
EXPERIMENTS = ("one_layer", "two_layer", "five_layer_recurrent")
NUM_SEEDS = 10
Loops = dict[str, Callable[[], float]]


class Clock(Callback):
    """Times a training from its first step to its last, without a pause."""

    seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock, when the device has done its work."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.start


def trainer_loop(config: RegressionConfig) -> float:
    """Steps per second of Lightning's Trainer with our callbacks, epochs and progress included, all seeds together.

    It does not evaluate: tasks drawn during evaluations would come for free. Nor does it write checkpoints; the whole
    run's benchmark counts both.
    """
    data, module, _ = prepare(config)
    clock = Clock()
    callbacks = [clock, Stopwatch(), MetricsRecorder(), TrainingProgress({"loss": "train/loss"})]
    trainer = make_trainer(config.trainer, None, [], callbacks)
    trainer.limit_val_batches = 0
    with contextlib.redirect_stderr(io.StringIO()):
        trainer.fit(module, data)
    return config.training.num_seeds * config.trainer.max_steps / clock.seconds


def plain_loop(config: RegressionConfig, drawn_ahead: bool) -> float:
    """Steps per second of the same step in a bare loop, drawing tasks on a second thread as our Trainer does or not."""
    _, module, _ = prepare(config)
    training, num_steps = config.training, config.trainer.max_steps
    model = transformer(module)
    optimizer = module.configure_optimizers()
    if drawn_ahead:
        batches = (batch for (batch,) in TaskStream(config.task, [config.seed], training.batch_size))
    else:
        generator = named_generator(config.seed, "training")
        batches = (config.task.sample(training.batch_size, generator) for _ in itertools.count())
    start = time.perf_counter()
    for batch in itertools.islice(batches, num_steps):
        optimizer.zero_grad()
        add_gradients([model], [batch], torch.Tensor.backward)
        clip_by_global_norm(list(model.parameters()), training.gradient_clip)
        optimizer.step()
    return num_steps / (time.perf_counter() - start)


def transformer(module: RegressionModule) -> torch.nn.Module:
    """Return the first seed's transformer."""
    (subject, *_) = module.subjects(LinearRegressionTask())
    return subject.transformer.train()


def jax_loop(config: RegressionConfig, form: str) -> float:
    """Steps per second of the jitted JAX step, compilation not counted."""
    from benchmarks.peers.jax_regression import training

    steps = training(form, config.task, config.model, config.training, config.seed)
    next(steps)[1].block_until_ready()  # compiles
    start = time.perf_counter()
    for _ in range(config.trainer.max_steps):
        _, loss = next(steps)
    loss.block_until_ready()
    return config.trainer.max_steps / (time.perf_counter() - start)


def check_peer(config: RegressionConfig) -> None:
    """Make sure that the peer computes what we compute: same weights and tasks, same predictions."""
    import jax.numpy as jnp

    from benchmarks.peers.jax_regression import FORMS

    # With weights so large that every layer matters.
    _, module, _ = prepare(replace(config, model=replace(config.model, init_scale=2.0)))
    (subject, *_) = module.subjects(config.task)
    batch = config.task.sample(64, named_generator(0, "benchmark"))
    query = torch.cat([batch.query, torch.zeros(64, 1)], dim=-1)[:, None]
    tokens = jnp.asarray(torch.cat([torch.cat([batch.x, batch.y], dim=-1), query], dim=1).numpy())
    with torch.no_grad():
        expected = subject.transformer(batch.x, batch.y, batch.query)[:, 0]
    params = [
        {name: jnp.asarray(weight[0].numpy()) for name, weight in layer.attention.state_dict().items()}
        for layer in subject.transformer.sequence()
    ]
    for form, predict in FORMS.items():
        difference = torch.tensor(predict(params, tokens, config.model.clip).tolist()) - expected
        error = (difference.abs().max() / expected.abs().max()).item()
        if not error < 1e-4:
            raise RuntimeError(f"the JAX peer ({form}) computes something else: relative difference {error:.1e}")


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def load(path: Path, keys: list[str]) -> RegressionConfig:
    """Return a checked config of this benchmark's experiment."""
    config = configs.load(path, keys)
    assert isinstance(config, RegressionConfig)
    return config


def training_loops(config: RegressionConfig, has_jax: bool) -> Loops:
    """Return what is to be measured of one experiment, by name."""
    loops: Loops = {
        "trainer": lambda: trainer_loop(config),
        "plain_loop": lambda: plain_loop(config, drawn_ahead=True),
        "plain_loop_drawing_inline": lambda: plain_loop(config, drawn_ahead=False),
    }
    if has_jax:
        from benchmarks.peers.jax_regression import FORMS

        check_peer(config)
        loops |= {f"jax_{form}": lambda form=form: jax_loop(config, form) for form in FORMS}  # type: ignore[misc]
    return loops


def seeds_loops(num_steps: int, accelerator: str) -> Loops:
    """Return one model's and ten models' training; steps are counted for each model."""
    shared = [f"trainer.max_steps={num_steps}", f"trainer.accelerator={accelerator}"]
    alone, together = (load(CONFIG, [*shared, f"training.num_seeds={number}"]) for number in (1, NUM_SEEDS))
    return {"ten_seeds": lambda: trainer_loop(together), "one_seed": lambda: trainer_loop(alone)}


def measure(loops: Loops, repeats: int) -> dict[str, list[float]]:
    """Run the loops one after the other, several times over."""
    measured: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(repeats):
        for name, loop in loops.items():
            measured[name].append(loop())
    return measured


def seconds_of_best_rate() -> float:
    """Return how long the search for the best learning rate of five steps takes."""
    batch = LinearRegressionTask().sample(10_000, named_generator(0, "benchmark"))
    start = time.perf_counter()
    best_learning_rate(*batch, num_steps=5)
    return time.perf_counter() - start


def report(measured: dict[str, list[float]], benchmark: str) -> list[dict[str, Any]]:
    """Return a record for each loop, with the median over repeats of the first one's speed relative to it."""
    first, *_ = measured
    return [
        {
            "benchmark": f"regression/{benchmark}",
            "loop": name,
            "steps_per_second": round(statistics.median(values), 1),
            "minimum": round(min(values), 1),
            "maximum": round(max(values), 1),
            "repeats": len(values),
            f"{first}_is_times_as_fast": round(
                statistics.median(a / b for a, b in zip(measured[first], values, strict=True)), 3
            ),
            "torch_threads": torch.get_num_threads(),
        }
        for name, values in measured.items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="iclgd bench regression", description=__doc__)
    what = [*EXPERIMENTS, "seeds", "best_rate"]
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"any of: {', '.join(what)} (default: all)")
    parser.add_argument("--steps", type=positive, default=300, help="training steps of one measurement (default: 300)")
    parser.add_argument("--repeats", type=positive, default=5, help="of each loop, interleaved (default: 5)")
    parser.add_argument("--accelerator", default="cpu", help="of our Trainer: cpu or gpu (default: cpu)")
    parser.add_argument("--threads", type=positive, default=1, help="of PyTorch; JAX takes all cores (default: 1)")
    options = parser.parse_args()
    if unknown := set(options.what) - set(what):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; choose any of: {', '.join(what)}")
    has_jax = all(importlib.util.find_spec(package) for package in ("jax", "optax"))
    if not has_jax:
        print("iclgd bench: no JAX peer without jax and optax; pip install 'iclgd[bench]'", file=sys.stderr)
    for name in options.what or what:
        if name == "best_rate":
            prepare_process(1)
            seconds = statistics.median(seconds_of_best_rate() for _ in range(options.repeats))
            print(json.dumps({"benchmark": "regression/best_rate", "num_steps": 5, "seconds": round(seconds, 3)}))
            continue
        if name == "seeds":
            prepare_process(1)
            loops = seeds_loops(options.steps, options.accelerator)
        else:
            keys = [f"trainer.max_steps={options.steps}", f"trainer.accelerator={options.accelerator}"]
            keys += [f"trainer.num_threads={options.threads}", "evaluation.gd_plus_plus=none"]  # none is compared with
            config = load(CONFIGS / f"{name}.yaml", keys)
            prepare_process(config.trainer.num_threads)
            loops = training_loops(config, has_jax)
        for line in report(measure(loops, options.repeats), name):
            print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

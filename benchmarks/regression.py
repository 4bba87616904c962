"""Training steps per second of one linear attention layer: our Trainer, a plain PyTorch loop, a JAX peer.

All in one process, one after the other, several times over; the medians and their ratios count. One JSON line each.
"""

import argparse
import contextlib
import io
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from iclgd import config as configs
from iclgd.config import RegressionConfig
from iclgd.data.datamodules import TaskStream
from iclgd.data.seeding import named_generator
from iclgd.experiment import build, prepare_process
from iclgd.modules.progress import TrainingProgress
from iclgd.modules.recording import MetricsRecorder, Stopwatch
from iclgd.modules.regression import clip_by_global_norm
from iclgd.modules.trainer import make_trainer

CONFIG = Path(__file__).parents[1] / "configs" / "regression" / "one_layer.yaml"


class Clock(Callback):
    """Times a training from its first step to its last, without a pause."""

    seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.seconds = time.perf_counter() - self.start


def trainer_loop(config: RegressionConfig) -> float:
    """Steps per second of Lightning's Trainer with our callbacks, epochs and progress included.

    It does not evaluate: tasks drawn during evaluations would come for free. Nor does it write checkpoints; the whole
    run's benchmark counts both.
    """
    data, module, _ = build(config)
    clock = Clock()
    callbacks = [clock, Stopwatch(), MetricsRecorder(), TrainingProgress({"loss": "train/loss"})]
    trainer = make_trainer(config.trainer, None, [], callbacks)
    trainer.limit_val_batches = 0
    with contextlib.redirect_stderr(io.StringIO()):
        trainer.fit(module, data)
    return config.trainer.max_steps / clock.seconds


def plain_loop(config: RegressionConfig, drawn_ahead: bool) -> float:
    """Steps per second of the same step in a bare loop, drawing tasks on a second thread as our Trainer does or not."""
    _, module, _ = build(config)
    training, num_steps = config.training, config.trainer.max_steps
    optimizer = module.configure_optimizers()
    parameters = list(module.transformer.parameters())
    if drawn_ahead:
        batches = iter(TaskStream(config.task, config.seed, training.batch_size))
    else:
        generator = named_generator(config.seed, "training")
        batches = (config.task.sample(training.batch_size, generator) for _ in itertools.count())
    start = time.perf_counter()
    for batch in itertools.islice(batches, num_steps):
        prediction = module.transformer(batch.x, batch.y, batch.query)
        loss = 0.5 * (batch.target - prediction).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        clip_by_global_norm(parameters, training.gradient_clip)
        optimizer.step()
    return num_steps / (time.perf_counter() - start)


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

    _, module, _ = build(config)
    batch = config.task.sample(64, named_generator(0, "benchmark"))
    expected = module.construction(batch.x, batch.y, batch.query)[:, 0]
    (layer,) = module.construction.layers
    params = {name: jnp.asarray(weight[0].numpy()) for name, weight in layer.state_dict().items()}
    query = torch.cat([batch.query, torch.zeros(64, 1)], dim=-1)[:, None]
    tokens = jnp.asarray(torch.cat([torch.cat([batch.x, batch.y], dim=-1), query], dim=1).numpy())
    for form, predict in FORMS.items():
        error = abs(torch.tensor(predict(params, tokens).tolist()) - expected).max().item()
        if not error < 1e-5:
            raise RuntimeError(f"the JAX peer ({form}) computes something else: largest difference {error:.1e}")


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(prog="iclgd bench regression", description=__doc__)
    parser.add_argument("--steps", type=positive, default=500, help="training steps of one measurement (default: 500)")
    parser.add_argument(
        "--repeats", type=positive, default=5, help="measurements of each loop, interleaved (default: 5)"
    )
    options = parser.parse_args()
    config = configs.load(CONFIG, [f"trainer.max_steps={options.steps}", "trainer.accelerator=cpu"])
    prepare_process(config.trainer.num_threads)
    loops: dict[str, Callable[[], float]] = {
        "trainer": lambda: trainer_loop(config),
        "plain_loop": lambda: plain_loop(config, drawn_ahead=True),
        "plain_loop_drawing_inline": lambda: plain_loop(config, drawn_ahead=False),
    }
    try:
        import benchmarks.peers.jax_regression
    except ImportError as error:
        print(f"iclgd bench: no JAX peer ({error}); pip install 'iclgd[bench]'", file=sys.stderr)
    else:
        check_peer(config)
        for form in benchmarks.peers.jax_regression.FORMS:
            loops[f"jax_{form}"] = lambda form=form: jax_loop(config, form)  # type: ignore[misc]
    measured: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(options.repeats):
        for name, loop in loops.items():
            measured[name].append(loop())
    for line in report(measured):
        print(json.dumps(line))
    return 0


def report(measured: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return a record for each loop, with the median over repeats of the trainer's speed relative to it."""
    ours = measured["trainer"]
    return [
        {
            "benchmark": "regression/one_layer",
            "loop": name,
            "steps_per_second": round(statistics.median(values), 1),
            "minimum": round(min(values), 1),
            "maximum": round(max(values), 1),
            "repeats": len(values),
            "trainer_is_times_as_fast": round(statistics.median(a / b for a, b in zip(ours, values, strict=True)), 3),
            "torch_threads": torch.get_num_threads(),
        }
        for name, values in measured.items()
    ]


if __name__ == "__main__":
    sys.exit(main())

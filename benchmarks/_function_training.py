"""Training steps per second on function classes: our Trainer, and the published loop written plainly."""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from benchmarks._step_by_step import StandStill, share_memory_among_threads, take_turns, trainer_steps
from benchmarks.peers import garg_loop
from iclgd.data.functions import LinearFunctionTask
from iclgd.experiments.functions import Config, prepare
from iclgd.models.function_transformer import FunctionTransformer, FunctionTransformerConfig
from iclgd.modules.functions import EvaluationConfig, TrainingConfig
from iclgd.runtime.process import prepare_process
from iclgd.runtime.trainer import TrainerConfig, make_trainer

SHAPES = {  # points, dimensions, layers, heads, width, prompts of a step, and steps of a turn
    "training_standard": (41, 20, 12, 8, 256, 64, 2),
    "training_small": (11, 5, 3, 2, 64, 64, 50),
}
NUM_CHECKED = 3  # steps in which both must agree
CHECKED_RATE = 1e-3
TOLERANCE = 1e-5  # of their losses


class StandStillBetweenTurns(StandStill):
    """Waits after each stretch of steps, which Lightning takes for one batch without a loss."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: object) -> None:
        """Wait."""
        super().on_train_batch_end(trainer, pl_module, {"loss": trainer.callback_metrics["train/loss"]})


def config_of(name: str, precision: str = "32-true", num_steps: int | None = None) -> Config:
    """Return the config of a shape.

    Args:
        name: of the shape.
        precision: of the training.
        num_steps: of a turn; ``None`` for the shape's.
    """
    points, dims, layers, heads, width, batch, own_steps = SHAPES[name]
    return Config(
        task=LinearFunctionTask(num_points=points, input_dim=dims),
        model=FunctionTransformerConfig(layers, heads, width),
        training=TrainingConfig(batch_size=batch),
        evaluation=EvaluationConfig(every_num_steps=num_steps or own_steps),
        trainer=TrainerConfig(max_steps=10**6, accelerator="cpu", precision=precision),
    )


def our_turns(config: Config) -> Iterator[Tensor]:
    """Train with Lightning's Trainer, a turn each time one is asked for, without evaluations and files."""
    data, module = prepare(config)
    stand_still = StandStillBetweenTurns()
    trainer = make_trainer(config.trainer, None, [], [stand_still])
    trainer.limit_val_batches = 0
    return trainer_steps(trainer, module, data, stand_still)


def peer_of(config: Config) -> tuple[garg_loop.Peer, FunctionTransformer]:
    """Return the peer with the weights of our model, and that."""
    _, module = prepare(config)
    model, task = config.model, config.task
    peer = garg_loop.Peer(task.input_dim, task.num_points, model.num_layers, model.num_heads, model.hidden_size)
    peer.copy_from(module.model)
    return peer, module.model


def peer_turns(config: Config) -> Iterator[Tensor]:
    """Train the peer, a turn each time one is asked for."""
    task, size = config.task, config.training.batch_size
    loop = garg_loop.steps(
        peer_of(config)[0],
        lambda: garg_loop.draw_linear(size, task.num_points, task.input_dim),
        config.training.learning_rate,
    )
    while True:
        yield list(islice(loop, config.evaluation.every_num_steps))[-1]


def check(name: str) -> float:
    """Make sure that both take the same training steps; return the largest relative difference of their losses.

    Raises:
        RuntimeError: if they do not.
    """
    config = config_of(name)
    # From larger weights and in larger steps than are timed: else the loss is that of predicting zero.
    config = replace(config, model=replace(config.model, init_scale=0.1))
    peer, model = peer_of(config)
    task, size = config.task, min(4, config.training.batch_size)
    batches = [garg_loop.draw_linear(size, task.num_points, task.input_dim) for _ in range(NUM_CHECKED)]
    draws = iter(batches)
    theirs = torch.stack(list(islice(garg_loop.steps(peer, lambda: next(draws), CHECKED_RATE), NUM_CHECKED)))
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=CHECKED_RATE, fused=True), []
    for x, y in batches:
        optimizer.zero_grad()
        loss = (model.at_every_position(x, y) - y).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.detach())
    difference = float(((torch.stack(losses) - theirs) / theirs).abs().max())
    if not difference < TOLERANCE:
        raise RuntimeError(f"the published loop computes something else: relative difference {difference:.1e}")
    return difference


def measure_training(
    name: str, repeats: int, precision: str = "32-true", num_steps: int | None = None
) -> dict[str, Any]:
    """Return the record of a shape: speeds by the clock, the ratio by the processor's time, and its spread over turns.

    Args:
        name: of the shape.
        repeats: turns of each loop.
        precision: of ours; the peer has single precision.
        num_steps: of a turn; ``None`` for the shape's.
    """
    prepare_process(num_threads=1)
    share_memory_among_threads()
    difference = check(name)
    config = config_of(name, precision, num_steps)
    number = config.evaluation.every_num_steps
    loops = {"ours": our_turns(config), "peer": peer_turns(config)}
    timings = take_turns(loops, 1, repeats, 1, torch.device("cpu"))
    for loop in loops.values():
        loop.close()  # type: ignore[attr-defined]
    ratios = [peer.processor / ours.processor for ours, peer in zip(timings["ours"], timings["peer"], strict=True)]
    speeds = {key: number / statistics.median(timing.seconds for timing in timings[key]) for key in timings}
    return {
        "benchmark": f"functions/{name}",
        "precision": precision,
        "steps_per_second": float(f"{speeds['ours']:.3g}"),
        "loop_steps_per_second": float(f"{speeds['peer']:.3g}"),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_least": round(min(ratios), 2),
        "ratio_most": round(max(ratios), 2),
        "difference": float(f"{difference:.1e}"),
    }

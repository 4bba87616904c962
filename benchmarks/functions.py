"""Prompts per second of the baselines for function classes: all positions in one call, and position after position.

The loops get prompts in batches of 64, as in the published evaluation, and fewer of them where they take long. Both
take turns; times are of the processor, medians and their ratios count. One JSON line each, with the largest difference
of the predictions over the largest prediction: it is rounding, but for the Lasso, whose loop stops at scikit-learn's
tolerance. Networks start from other random numbers and are not compared.

And training steps per second of transformers: our Trainer, and the published loop written plainly, in turns of some
steps; times of the processor count, which have our second thread in them.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks._function_training import SHAPES, measure_training
from benchmarks.peers import per_position
from benchmarks.regression import positive
from iclgd.data.functions import NoisyLinearFunctionTask, SparseLinearFunctionTask
from iclgd.models.every_position import (
    Averaging,
    DiscreteMMSE,
    EveryPositionLearner,
    Lasso,
    NearestNeighbors,
    TwoLayerNetwork,
)
from iclgd.models.every_position.learner import batches
from iclgd.models.learners import LeastSquares, Ridge

PUBLISHED_BATCH = 64
POOL = torch.randn(1024, 20, generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class Pair:
    """A learner, the loop beside it, and how many prompts each gets at most."""

    learner: EveryPositionLearner
    loop: Callable[[Tensor, Tensor], Tensor]
    most: int = 1280
    most_of_loop: int = 1280
    is_compared: bool = True


PAIRS: dict[str, Pair] = {
    "least_squares": Pair(LeastSquares(), per_position.least_squares),
    "ridge": Pair(Ridge(1.0), lambda x, y: per_position.ridge(x, y, 1.0)),
    "averaging": Pair(Averaging(), per_position.averaging),
    "nearest_neighbors": Pair(NearestNeighbors(3), lambda x, y: per_position.nearest_neighbors(x, y, 3), 1280, 64),
    "dmmse": Pair(DiscreteMMSE(POOL, 1.0), lambda x, y: per_position.discrete_mmse(x, y, POOL, 1.0), 1280, 64),
    "lasso": Pair(Lasso(0.01), lambda x, y: per_position.lasso(x, y, 0.01), 1280, 64),
    "two_layer_network": Pair(
        TwoLayerNetwork(), lambda x, y: per_position.two_layer_network(x, y, 100, 100, 5e-3), 64, 64, is_compared=False
    ),
}

NAMES = (*PAIRS, *SHAPES)


def timed(call: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return the processor's seconds for a call, and what it returns."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def measure(name: str, num_prompts: int, repeats: int) -> dict[str, object]:
    """Return the record of one baseline."""
    pair = PAIRS[name]
    task = SparseLinearFunctionTask() if name == "lasso" else NoisyLinearFunctionTask()
    batch = task.sample(min(num_prompts, pair.most), torch.Generator().manual_seed(0))
    num_looped = min(len(batch.y), pair.most_of_loop)
    parts = list(batches(PUBLISHED_BATCH, batch.x[:num_looped], batch.y[:num_looped]))
    ours, loop = [], []
    for _ in range(repeats):
        seconds, predicted = timed(lambda: pair.learner.at_every_position(batch.x, batch.y))
        ours.append(len(batch.y) / seconds)
        seconds, looped = timed(lambda: torch.cat([pair.loop(x, y) for x, y in parts]))
        loop.append(num_looped / seconds)
    difference = ((predicted[:num_looped] - looped).abs().max() / looped.abs().max()).item()
    ratios = [one / other for one, other in zip(ours, loop, strict=True)]
    return {
        "benchmark": f"functions/{name}",
        "prompts": len(batch.y),
        "points": batch.y.shape[1],
        "dimensions": batch.x.shape[2],
        "prompts_per_second": round(statistics.median(ours), 1),
        "loop_prompts_per_second": round(statistics.median(loop), 1),
        "ratio": round(statistics.median(ratios), 2),
        "difference": float(f"{difference:.1e}") if pair.is_compared else None,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--prompts", type=positive, default=1280, metavar="B", help="prompts at most (default: 1280)")
    parser.add_argument("--repeats", type=positive, default=3, metavar="R", help="turns of each (default: 3)")
    parser.add_argument(
        "--precision", choices=("32-true", "bf16-mixed"), default="32-true", help="of our training (default: 32-true)"
    )
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in NAMES:
            parser.error(f"NAME must be one of: {', '.join(NAMES)}; got {name!r}")
    torch.set_num_threads(1)
    for name in options.names or NAMES:
        if name in SHAPES:
            record = measure_training(name, options.repeats, options.precision)
        else:
            record = measure(name, options.prompts, options.repeats)
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()

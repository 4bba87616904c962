"""Ours beside what researchers write themselves, in turn, and beside what the matrix products alone would take."""

import argparse
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from benchmarks._text_floor import COUNTED, ProcessorFloor, Shape, matrix_products
from benchmarks._text_subject import Subject
from iclgd.analysis.finetune import FinetuneConfig
from iclgd.data.text_datamodule import TextDataModule
from iclgd.experiments import RunContext, text
from iclgd.models.model_files import EMBEDDED
from iclgd.modules.dual_form import Comparison, DualFormModule
from iclgd.modules.similarities import EvaluationConfig
from iclgd.runtime.trainer import DeviceConfig

LEARNING_RATE = 0.01
BATCH_SIZES = {EMBEDDED: 256}  # as in configs/text/embedded.yaml; else the default
PEER_BATCH_SIZES = {EMBEDDED: 256}  # else 16: it copies the demonstrations' cache for each query, and is faster so
NUM_CHECKED = 2  # queries on which a peer must agree
# In the first layer the same token at the same place of two demonstrations has the same query. We give both the same
# score; in the peers, rounding decides the order of the two.
RANKS = "largest_difference_in_token_ranks"
TOLERANCES = {"largest_difference": 1e-4, RANKS: 1e-2}


class TimedModule(DualFormModule):
    """Ours, which remembers how much of its time finetuning took."""

    finetuning_seconds = 0.0

    def on_train_end(self) -> None:
        """Stop the clock."""
        super().on_train_end()
        self.finetuning_seconds = self.seconds


@dataclass(frozen=True)
class Timing:
    """Seconds of all queries, and of the processor for all: what it does for others is not in it."""

    finetuning: float
    queries: float
    processor: float

    @property
    def total(self) -> float:
        """Return seconds with finetuning."""
        return self.finetuning + self.queries


Run: TypeAlias = tuple[Timing, dict[str, float]]  # and the summary


def batch_size_of(subject: Subject) -> int:
    """Return how many queries are run together at the most."""
    return BATCH_SIZES.get(subject.name, EvaluationConfig.batch_size)


def run_ours(subject: Subject, device: DeviceConfig) -> Run:
    """Run the experiment as ``iclgd run`` does, without its files; Trainer and summary count as time of the queries."""
    evaluation = EvaluationConfig(batch_size=batch_size_of(subject))
    finetune = FinetuneConfig(LEARNING_RATE)
    module = TimedModule([Comparison("", subject.model, subject.prompts)], finetune, evaluation, seed=0)
    data = TextDataModule([subject.prompts], evaluation.batch_size)
    config = text.Config(finetune=finetune, evaluation=evaluation, trainer=device)
    start, processor_start = time.perf_counter(), time.process_time()
    summary = text.execute(RunContext.alone(config), text.Prepared(data, module, []))
    total, processor = time.perf_counter() - start, time.process_time() - processor_start
    return Timing(module.finetuning_seconds, total - module.finetuning_seconds, processor), summary


class Laps:
    """A clock that is read several times."""

    def __init__(self) -> None:
        self.times = [(time.perf_counter(), time.process_time())]

    def end(self) -> None:
        """End a lap."""
        self.times.append((time.perf_counter(), time.process_time()))

    def timing(self, share: float = 1.0) -> Timing:
        """Return finetuning's lap, and that of the queries: so many times what it took."""
        (finetuning, first), (queries, second) = (
            (after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(self.times)
        )
        return Timing(finetuning, share * queries, first + share * second)


def run_loop(subject: Subject, num_queries: int) -> Run:
    """Run the plain loop on the first queries; seconds are for all of them, the means are of those that were run."""
    from benchmarks.peers import text_loop

    base = text_loop.eager_copy(subject.model.model)
    noise = np.random.default_rng(0)
    laps = Laps()
    finetuned, training_queries = text_loop.finetune(base, subject.prompts, LEARNING_RATE)
    laps.end()
    values = [
        text_loop.compare(base, finetuned, training_queries, subject.prompts, query, noise)
        for query in range(num_queries)
    ]
    laps.end()
    return laps.timing(len(subject.prompts.queries) / num_queries), text_loop.summarize(values)


def run_batched(subject: Subject, noise: np.random.Generator | None) -> Run:
    """Run the careful user's batches, of all queries; without noise the published measures alone are made."""
    from benchmarks.peers import text_batched, text_loop

    base = text_batched.sdpa_copy(subject.model.model)
    laps = Laps()
    finetuned, training_queries = text_batched.finetune(base, subject.prompts, LEARNING_RATE)
    laps.end()
    cache = text_batched.run_demonstrations(base, subject.prompts)
    values = []
    for batch in text_batched.batches(subject.prompts, PEER_BATCH_SIZES.get(subject.name, 16)):
        values += text_batched.compare(base, finetuned, training_queries, cache, subject.prompts, batch, noise)
    summary = text_loop.summarize(values)
    laps.end()
    return laps.timing(), summary


# What ours is held against, with the number of queries that the plain loop is to run.
PEERS: dict[str, Callable[[Subject, int], Run]] = {
    "loop": run_loop,
    "batched": lambda subject, _num_queries: run_batched(subject, np.random.default_rng(0)),
    "published": lambda subject, _num_queries: run_batched(subject, None),
}


def check_peer(peer: str, subject: Subject, threads: int) -> dict[str, float]:
    """Make sure that a peer computes what we compute; return the largest differences, of ranks of tokens apart.

    It is done in double precision: in single precision rounding decides about ranks that are close.
    """
    few = subject.copied(torch.float64).with_queries(NUM_CHECKED)
    device = DeviceConfig(accelerator="cpu", precision="64-true", num_threads=threads)
    (_, ours), (_, theirs) = run_ours(few.copied(torch.float64), device), PEERS[peer](few, NUM_CHECKED)
    largest = dict.fromkeys(TOLERANCES, 0.0)
    for name, value in theirs.items():
        if "random" in name or (np.isnan(value) and np.isnan(ours[name])):  # each draws its own noise
            continue
        kind = RANKS if name.partition("/")[0] in ("kendall", "top_tokens") else "largest_difference"
        if not (error := float(abs(value - ours[name]))) < TOLERANCES[kind]:
            raise RuntimeError(f"the peer ({peer}) computes something else: {name} is {value}, ours {ours[name]}")
        largest[kind] = max(largest[kind], error)
    return largest


def measure_speed(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """Time ours, the peers and the floor in turn, and return a record."""
    config, prompts = subject.model.model.config, subject.prompts
    has_peers = config.model_type == "gpt2" and importlib.util.find_spec("scipy") is not None
    chosen = options.peers if has_peers else []
    errors = {name: check_peer(name, subject, options.threads) for name in chosen}
    device = DeviceConfig(accelerator="cpu", num_threads=options.threads)
    number, shape = len(prompts.queries), Shape.of(config)
    floor = ProcessorFloor(shape) if config.model_type in COUNTED else None
    products = matrix_products(shape, prompts, batch_size_of(subject))
    ours: list[Timing] = []
    floors: list[float] = []
    peers: dict[str, list[Timing]] = {name: [] for name in chosen}
    own = subject.copied()
    run_ours(own.with_queries(NUM_CHECKED), device)  # what is loaded and prepared once is not counted
    for _ in range(options.repeats):
        ours.append(run_ours(own, device)[0])
        if floor is not None:
            floors.append(floor.seconds(products))
        for name in chosen:
            peers[name].append(PEERS[name](subject, min(options.peer_queries, number))[0])
    record: dict[str, Any] = {
        "benchmark": f"text/{subject.name}",
        "queries": number,
        "demonstrations": len(prompts.demonstrations),
        "context_tokens": len(prompts.context),
        "queries_per_second": round(number / statistics.median(timing.total for timing in ours), 2),
        "finetuning_seconds": round(statistics.median(timing.finetuning for timing in ours), 3),
        "processor_seconds": round(statistics.median(timing.processor for timing in ours), 3),
        "repeats": len(ours),
        "torch_threads": torch.get_num_threads(),
    }
    if floors:
        fractions = [least / timing.processor for least, timing in zip(floors, ours, strict=True)]
        record |= {
            "floor_processor_seconds": round(statistics.median(floors), 3),
            "fraction_of_floor": round(statistics.median(fractions), 3),
        }
    if chosen:
        record["peers"] = {name: beside(ours, peers[name], number) | rounded(errors[name]) for name in chosen}
    if "loop" in chosen:
        record["loop_ran_queries"] = min(options.peer_queries, number)
    return record


def beside(ours: Sequence[Timing], theirs: Sequence[Timing], number: int) -> dict[str, Any]:
    """Return what is said of a peer."""
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "queries_per_second": round(number / statistics.median(timing.total for timing in theirs), 3),
        "finetuning_seconds": round(statistics.median(timing.finetuning for timing in theirs), 3),
        "ours_is_times_as_fast": median_ratio(pairs, lambda timing: timing.total),
        "ratios": [round(peer.total / our.total, 2) for our, peer in pairs],
        "ours_without_finetuning_is_times_as_fast": median_ratio(pairs, lambda timing: timing.queries),
        "finetuning_is_times_as_fast": median_ratio(pairs, lambda timing: timing.finetuning),
        "processor_time_ratio": median_ratio(pairs, lambda timing: timing.processor),
    }


def rounded(errors: dict[str, float]) -> dict[str, float]:
    """Return errors to two digits."""
    return {name: float(f"{error:.1e}") for name, error in errors.items()}


def median_ratio(pairs: list[tuple[Timing, Timing]], part: Callable[[Timing], float]) -> float:
    """Return the median over repeats of how many times longer the peer takes."""
    return round(statistics.median(part(peer) / part(ours) for ours, peer in pairs), 2)

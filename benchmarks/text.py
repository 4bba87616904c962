"""Queries per second of the text experiment beside a plain loop, its memory, and its share of a GPU's arithmetic.

The plain loop (benchmarks/peers/text_loop.py) makes the same measurements, which is checked before anything is timed.
It sees fewer queries: its seconds for all of them are those of finetuning plus the number of queries times its
seconds for one. Ours is the experiment's own path through Lightning's Trainer, all metrics, no controls.
"""

import argparse
import copy
import dataclasses
import importlib.util
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, PreTrainedConfig, XGLMConfig

from benchmarks._text_floor import floating_point_operations, matmul_peak
from benchmarks.regression import positive
from iclgd import config as configs
from iclgd.analysis.finetune import FinetuneConfig
from iclgd.data.prompts import DemonstrationsConfig, Prompts
from iclgd.data.text import TextTaskConfig, load_examples, load_task
from iclgd.data.text_datamodule import TextDataModule
from iclgd.experiments import RunContext, text
from iclgd.models.language import LanguageModel, wrap
from iclgd.models.loading import LanguageModelConfig
from iclgd.models.model_files import EMBEDDED
from iclgd.modules.dual_form import Comparison, DualFormModule
from iclgd.modules.similarities import EvaluationConfig
from iclgd.runtime.process import prepare_process
from iclgd.runtime.trainer import DeviceConfig
from iclgd.tracking.wandb import TrackingConfig

SHAPES: dict[str, PreTrainedConfig] = {
    "gpt2": GPT2Config(),  # that of the 124 million parameters
    "tiny": GPT2Config(vocab_size=500, n_positions=512, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0),
}
XGLM = XGLMConfig(  # that of fairseq's GPT 1.3B, the model of Dai et al. 2023
    vocab_size=50264, d_model=2048, ffn_dim=8192, num_layers=24, attention_heads=32
)
LEARNING_RATE = 0.01
BATCH_SIZES = {EMBEDDED: 256}  # as in configs/text/embedded.yaml; else the default
NUM_CHECKED = 2  # queries on which the peer must agree
# In the first layer the same token at the same place of two demonstrations has the same query. We give both the same
# score; in the peer, rounding decides the order of the two.
RANKS = "largest_difference_from_peer_in_token_ranks"
TOLERANCES = {"largest_difference_from_peer": 1e-4, RANKS: 1e-2}
MEMORY_SIZES = (64, 1024)
COLUMNS = {  # of the table
    "benchmark": "benchmark",
    "queries": "queries",
    "queries/s": "queries_per_second",
    "peer's": "peer_queries_per_second",
    "ratio": "ours_is_times_as_fast",
    "without finetuning": "ours_without_finetuning_is_times_as_fast",
    "MiB": "peak_memory_mib",
    "of the floor": "fraction_of_floor",
}
STANDARD_FILES = {"config.yaml", "environment.json", "metrics.jsonl", "summary.json", ".lock"}


@dataclass(frozen=True)
class Subject:
    """What is measured: a model and its prompts."""

    name: str
    model: LanguageModel
    prompts: Prompts

    def with_queries(self, number: int) -> "Subject":
        """Return it with the first queries only."""
        queries, labels = self.prompts.queries[:number], self.prompts.labels[:number]
        return dataclasses.replace(self, prompts=dataclasses.replace(self.prompts, queries=queries, labels=labels))


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


def config_of(options: argparse.Namespace, model: str, task: str, accelerator: str = "cpu") -> text.Config:
    """Return the experiment's config for a model's folder."""
    return text.Config(
        model=LanguageModelConfig(name=model),
        task=TextTaskConfig(name=task, data_dir=options.data_dir, num_queries=options.queries),
        demonstrations=DemonstrationsConfig(num=options.demonstrations),
        finetune=FinetuneConfig(LEARNING_RATE),
        trainer=DeviceConfig(accelerator=accelerator, num_threads=options.threads),
        tracking=TrackingConfig(mode="disabled"),
    )


def subject_of(name: str, options: argparse.Namespace) -> Subject:
    """Return a random model with random prompts, or the model of a folder with a task's."""
    if name in SHAPES:
        return random_subject(name, SHAPES[name], options.demonstrations, options.queries)
    module = text.prepare(config_of(options, name, options.task)).module
    (comparison,) = module.comparisons
    return Subject(Path(name).name, comparison.model, comparison.prompts)


def random_subject(
    name: str, shape: PreTrainedConfig, num_demonstrations: int, num_queries: int, dtype: torch.dtype = torch.float32
) -> Subject:
    """Return a model of random weights and prompts of random tokens, about as long as those of the published tasks."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = wrap(name, AutoModelForCausalLM.from_config(shape, dtype=dtype))
    generator = random.Random(0)

    def tokens(shortest: int, longest: int) -> tuple[int, ...]:
        return tuple(generator.randrange(shape.vocab_size) for _ in range(generator.randint(shortest, longest)))

    answers = tuple((token,) for token in generator.sample(range(shape.vocab_size), 2))
    labels = tuple(generator.randrange(2) for _ in range(num_demonstrations + num_queries))
    shown = labels[:num_demonstrations]
    start, separator = tokens(1, 1), tokens(1, 1)
    demonstrations = tuple(tokens(26, 28) + answers[label] for label in shown)
    queries = tuple(tokens(25, 30) for _ in range(num_queries))
    prompts = Prompts(start, answers, demonstrations, shown, separator, queries, labels[num_demonstrations:])
    if model.max_length is not None and len(prompts.context) + 30 > model.max_length:
        raise ValueError(f"{name}: {num_demonstrations} demonstrations are too many for {model.max_length} positions")
    return Subject(name, model, prompts)


def run_ours(subject: Subject, device: DeviceConfig) -> tuple[Timing, dict[str, float]]:
    """Run the experiment as ``iclgd run`` does, without its files; Trainer and summary count as time of the queries."""
    evaluation = EvaluationConfig(batch_size=BATCH_SIZES.get(subject.name, EvaluationConfig.batch_size))
    finetune = FinetuneConfig(LEARNING_RATE)
    module = TimedModule([Comparison("", subject.model, subject.prompts)], finetune, evaluation, seed=0)
    data = TextDataModule([subject.prompts], evaluation.batch_size)
    config = text.Config(finetune=finetune, evaluation=evaluation, trainer=device)
    start, processor_start = time.perf_counter(), time.process_time()
    summary = text.execute(RunContext.alone(config), text.Prepared(data, module, []))
    total, processor = time.perf_counter() - start, time.process_time() - processor_start
    return Timing(module.finetuning_seconds, total - module.finetuning_seconds, processor), summary


def run_peer(subject: Subject, num_queries: int) -> tuple[Timing, dict[str, float]]:
    """Run the plain loop on the first queries; seconds are for all of them, the means are of those that were run."""
    from benchmarks.peers import text_loop

    base = text_loop.eager_copy(subject.model.model)
    noise = np.random.default_rng(0)
    times = [(time.perf_counter(), time.process_time())]
    finetuned, training_queries = text_loop.finetune(base, subject.prompts, LEARNING_RATE)
    times.append((time.perf_counter(), time.process_time()))
    values = [
        text_loop.compare(base, finetuned, training_queries, subject.prompts, query, noise)
        for query in range(num_queries)
    ]
    times.append((time.perf_counter(), time.process_time()))
    (finetuning, first), (queries, second) = (
        (after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(times)
    )
    share = len(subject.prompts.queries) / num_queries
    return Timing(finetuning, share * queries, first + share * second), text_loop.summarize(values)


def check_peer(subject: Subject, threads: int) -> dict[str, float]:
    """Make sure that the peer computes what we compute; return the largest differences, of ranks of tokens apart.

    It is done in double precision: in single precision rounding decides about ranks that are close.
    """
    model = wrap(subject.name, copy.deepcopy(subject.model.model).double())
    few = dataclasses.replace(subject, model=model).with_queries(NUM_CHECKED)
    device = DeviceConfig(accelerator="cpu", precision="64-true", num_threads=threads)
    (_, ours), (_, peer) = run_ours(few, device), run_peer(few, NUM_CHECKED)
    largest = dict.fromkeys(TOLERANCES, 0.0)
    for name, theirs in peer.items():
        if "random" in name or (np.isnan(theirs) and np.isnan(ours[name])):  # each draws its own noise
            continue
        kind = RANKS if name.partition("/")[0] in ("kendall", "top_tokens") else "largest_difference_from_peer"
        if not (error := float(abs(theirs - ours[name]))) < TOLERANCES[kind]:
            raise RuntimeError(f"the peer computes something else: {name} is {theirs}, ours {ours[name]}")
        largest[kind] = max(largest[kind], error)
    return largest


def measure_speed(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """Time ours and the peer in turn, and return a record."""
    has_peer = subject.model.model.config.model_type == "gpt2" and importlib.util.find_spec("scipy") is not None
    errors = check_peer(subject, options.threads) if has_peer else {}
    device = DeviceConfig(accelerator="cpu", num_threads=options.threads)
    ours, peers = [], []
    run_ours(subject.with_queries(NUM_CHECKED), device)  # what is loaded and prepared once is not counted
    for _ in range(options.repeats):
        ours.append(run_ours(subject, device)[0])
        if has_peer:
            peers.append(run_peer(subject, min(options.peer_queries, len(subject.prompts.queries)))[0])
    number = len(subject.prompts.queries)
    record = {
        "benchmark": f"text/{subject.name}",
        "queries": number,
        "demonstrations": len(subject.prompts.demonstrations),
        "context_tokens": len(subject.prompts.context),
        "queries_per_second": round(number / statistics.median(timing.total for timing in ours), 2),
        "finetuning_seconds": round(statistics.median(timing.finetuning for timing in ours), 3),
        "repeats": len(ours),
        "torch_threads": torch.get_num_threads(),
    }
    if has_peer:
        pairs = list(zip(ours, peers, strict=True))
        record |= {
            "peer_queries_per_second": round(number / statistics.median(timing.total for timing in peers), 3),
            "peer_finetuning_seconds": round(statistics.median(timing.finetuning for timing in peers), 3),
            "peer_ran_queries": min(options.peer_queries, number),
            "peer_seconds_are": "finetuning + queries x mean seconds of one query that it ran",
            **{name: float(f"{error:.1e}") for name, error in errors.items()},
            "ours_is_times_as_fast": median_ratio(pairs, lambda timing: timing.total),
            "ratios": [round(peer.total / ours.total, 2) for ours, peer in pairs],
            "ours_without_finetuning_is_times_as_fast": median_ratio(pairs, lambda timing: timing.queries),
            "finetuning_is_times_as_fast": median_ratio(pairs, lambda timing: timing.finetuning),
            "processor_time_ratio": median_ratio(pairs, lambda timing: timing.processor),
        }
    return record


def median_ratio(pairs: list[tuple[Timing, Timing]], part: Callable[[Timing], float]) -> float:
    """Return the median over repeats of how many times longer the peer takes."""
    return round(statistics.median(part(peer) / part(ours) for ours, peer in pairs), 2)


def measure_memory(folder: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the whole experiment in fresh processes with few and many queries; return a record for each."""
    records: list[dict[str, Any]] = []
    for number in MEMORY_SIZES:
        with tempfile.TemporaryDirectory() as place:
            peak, seconds = run_in_process(folder, number, Path(place), options)
            extra = files_beyond_a_runs_own(Path(place))
        first = records[0]["peak_memory_mib"] if records else peak / 2**20
        records.append(
            {
                "benchmark": f"text/memory/{Path(folder).name}",
                "queries": number,
                "peak_memory_mib": round(peak / 2**20, 1),
                "times_that_of_the_fewest": round(peak / 2**20 / first, 3),
                "seconds": round(seconds, 1),
                "files_beyond_a_runs_own": extra,
            }
        )
    return records


def files_beyond_a_runs_own(place: Path) -> list[str]:
    """Return what a run wrote that is not among the files of every run."""
    written = sorted(path.relative_to(place) for path in (place / "runs").rglob("*") if path.is_file())
    return [str(path) for path in written if path.name not in STANDARD_FILES and path.parent.name != "figures"]


def run_in_process(folder: str, num_queries: int, place: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Run the experiment in a folder of its own; return its peak memory in bytes and seconds."""
    task = load_task(options.task)
    for split in ("train", "validation"):
        rows = [{**row.fields, task.label: row.label} for row in load_examples(task, split, options.data_dir)]
        if split == "validation":  # tasks may have fewer: queries are then asked again
            rows = [rows[index % len(rows)] for index in range(num_queries)]
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = config_of(options, folder, options.task)
    task_config = dataclasses.replace(config.task, data_dir=str(place), num_queries=num_queries)
    path = place / "memory.yaml"
    path.write_text(configs.to_yaml(dataclasses.replace(config, task=task_config)), encoding="utf-8")
    command = [sys.executable, "-m", "iclgd.cli", "run", str(path)]
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=place,
        env={**os.environ, "ICLGD_RUNS": str(place / "runs")},
        capture_output=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"iclgd run failed: {done.stderr.decode()[-500:]}")
    (summary,) = (place / "runs").glob("memory/*/summary.json")
    return float(json.loads(summary.read_text())["peak_memory_bytes"]), seconds


def measure_gpu(shape: XGLMConfig, num_queries: int, num_demonstrations: int, accelerator: str) -> dict[str, Any]:
    """Time the experiment in bfloat16, and return its share of what the matrix products alone would take."""
    subject = random_subject("xglm", shape, num_demonstrations, num_queries, torch.bfloat16)
    device = DeviceConfig(accelerator=accelerator, precision="bf16-true")
    run_ours(subject.with_queries(64), device)  # loads kernels
    timing, summary = run_ours(subject, device)
    rate = matmul_peak("cuda" if accelerator == "gpu" else "cpu", 8192 if accelerator == "gpu" else 512)
    floor = sum(floating_point_operations(shape, subject.prompts).values()) / rate
    return {
        "benchmark": f"text/{accelerator}/xglm",
        "parameters": subject.model.model.num_parameters(),
        "queries": num_queries,
        "demonstrations": num_demonstrations,
        "seconds": round(timing.total, 2),
        "finetuning_seconds": round(timing.finetuning, 2),
        "queries_per_second": round(num_queries / timing.total, 1),
        "matmul_tflops": round(rate / 1e12, 2),
        "floor_seconds": round(floor, 4),
        "fraction_of_floor": round(floor / timing.total, 4),
        "peak_memory_gib": round(summary["peak_memory_bytes"] / 2**30, 2),
    }


def main() -> int:
    options = parse(sys.argv[1:])
    prepare_process(options.threads)
    records: list[dict[str, Any]] = []

    def tell(record: dict[str, Any]) -> None:
        records.append(record)
        print(json.dumps(record), flush=True)

    for name in options.models:
        if "speed" in options.what:
            tell(measure_speed(subject_of(name, options), options))
        if "memory" in options.what and name not in SHAPES:  # those have no tokenizer
            for record in measure_memory(name, options):
                tell(record)
    if options.gpu and not torch.cuda.is_available():
        print("iclgd bench: --gpu needs a CUDA GPU, and there is none; not measured: xglm", file=sys.stderr)
    elif options.gpu:
        tell(measure_gpu(XGLM, options.gpu_queries, options.demonstrations, "gpu"))
    print_table(records)
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="iclgd bench text", description=__doc__)
    models = f"any of: {EMBEDDED}, {', '.join(SHAPES)} (random weights), or a model's folder (default: embedded gpt2)"
    parser.add_argument("--models", nargs="*", default=[EMBEDDED, "gpt2"], metavar="MODEL", help=models)
    what = ("speed", "memory")
    parser.add_argument("--what", nargs="+", choices=what, default=what, help="memory: not of random models")
    parser.add_argument("--task", default="embedded", help="of models with a tokenizer (default: embedded)")
    parser.add_argument("--data-dir", help="of the task, if it has none of its own")
    parser.add_argument("--demonstrations", type=positive, default=32, help="in the context (default: 32)")
    parser.add_argument("--queries", type=positive, default=256, help="of ours (default: 256)")
    parser.add_argument("--peer-queries", type=positive, default=16, help="that the peer runs (default: 16)")
    parser.add_argument("--repeats", type=positive, default=3, help="of each, interleaved (default: 3)")
    parser.add_argument("--threads", type=positive, default=1, help="of PyTorch, both sides (default: 1)")
    parser.add_argument("--gpu", action="store_true", help="a random model of 1.3 billion parameters in bfloat16, too")
    parser.add_argument("--gpu-queries", type=positive, default=872, help="(default: 872, as in SST-2)")
    return parser.parse_args(arguments)


def print_table(records: list[dict[str, Any]]) -> None:
    """Print the numbers that count, on standard error: standard output is JSON lines."""
    rows = [list(COLUMNS)] + [[str(record.get(key, "")) for key in COLUMNS.values()] for record in records]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), sep="  ", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

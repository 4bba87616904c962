"""Queries per second of the text experiment beside its peers, its memory, and its share of the machine's arithmetic.

Two peers make the same measurements, which is checked before anything is timed: a plain loop over whole prompts
(benchmarks/peers/text_loop.py), and what a careful user of Hugging Face's library writes, in batches that share the
demonstrations' cache (benchmarks/peers/text_batched.py); that one is also timed with the published measures alone,
without baselines, where ours makes more of them. The plain loop sees fewer queries: its seconds for all of them
are those of finetuning plus the number of queries times its seconds for one. Ours is the experiment's own path through
Lightning's Trainer, all metrics, no controls. The floor is what its matrix products alone take on this processor, in
their own shapes, measured in the same turns.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import XGLMConfig

from benchmarks._text_floor import Shape, floating_point_operations, matmul_peak, matrix_products
from benchmarks._text_speed import LEARNING_RATE, PEERS, measure_speed, run_ours
from benchmarks._text_subject import SHAPES, XGLM, Subject, random_subject
from benchmarks.regression import positive
from iclgd import config as configs
from iclgd.analysis.finetune import FinetuneConfig
from iclgd.data.prompts import DemonstrationsConfig
from iclgd.data.text import TextTaskConfig, load_examples, load_task
from iclgd.experiments import text
from iclgd.models.loading import LanguageModelConfig, load_language_model
from iclgd.models.model_files import EMBEDDED
from iclgd.runtime.process import prepare_process
from iclgd.runtime.trainer import DeviceConfig
from iclgd.tracking.wandb import TrackingConfig

MEMORY_SIZES = (64, 1024)
COLUMNS = {  # of the table
    "benchmark": "benchmark",
    "queries": "queries",
    "queries/s": "queries_per_second",
    "as fast as the loop": "loop",
    "as the batched": "batched",
    "as published measures alone": "published",
    "MiB": "peak_memory_mib",
    "of the floor": "fraction_of_floor",
}
STANDARD_FILES = {"config.yaml", "environment.json", "metrics.jsonl", "summary.json", ".lock"}


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
    config = config_of(options, name, options.task)
    (comparison,) = text.prepare(config).module.comparisons  # whose model is changed already
    return Subject(Path(name).name, load_language_model(config.model, config.seed), comparison.prompts)


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
    products = matrix_products(Shape.of(shape), subject.prompts, batch_size=num_queries)
    floor = sum(floating_point_operations(products).values()) / rate
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
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="(default: all)")
    parser.add_argument("--peer-queries", type=positive, default=16, help="that the plain loop runs (default: 16)")
    parser.add_argument("--repeats", type=positive, default=3, help="of each, interleaved (default: 3)")
    parser.add_argument("--threads", type=positive, default=1, help="of PyTorch, both sides (default: 1)")
    parser.add_argument("--gpu", action="store_true", help="a random model of 1.3 billion parameters in bfloat16, too")
    parser.add_argument("--gpu-queries", type=positive, default=872, help="(default: 872, as in SST-2)")
    return parser.parse_args(arguments)


def print_table(records: list[dict[str, Any]]) -> None:
    """Print the numbers that count, on standard error: standard output is JSON lines."""
    ratios = [{name: peer["ours_is_times_as_fast"] for name, peer in each.get("peers", {}).items()} for each in records]
    told = [record | of_record for record, of_record in zip(records, ratios, strict=True)]
    rows = [list(COLUMNS)] + [[str(record.get(key, "")) for key in COLUMNS.values()] for record in told]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), sep="  ", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

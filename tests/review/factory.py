"""Run directories with plausible numbers, made in milliseconds: for reviews of many runs, and of broken ones."""

import copy
import functools
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save

from iclgd import config as configs
from iclgd.shipped import find
from iclgd.tracking.run_directory import SEAL

LAYERS = 4  # of text runs
CONTROLS = {"untrained": 0.45, "shuffled_labels": 0.8, "other_task": 0.7}  # how much of the comparison's likeness
TEXT_NUMBERS = {"sim_aou": 0.6, "sim_am": 0.8, "sim_am_zero_shot": 0.7, "sim_am_delta": 0.5, "kendall": 0.5}
ATTENTION_NUMBERS = {
    "attention_demonstrations": 0.8,
    "attention_query": 0.15,
    "attention_start": 0.05,
    "attention_right_label": 0.6,
}
RANDOM_NUMBERS = ("sim_aou_random", "kendall_random")
ACCURACIES = {"zero_shot": 0.6, "in_context": 0.97, "finetuned": 0.93}
QUERIES = ("melon ledger waffle toad :", "deer sieve lynx late :")
Numbers = Mapping[str, float | None]


def make_run(
    root: Path,
    name: str = "one_layer",
    run_id: str = "20260101-000000-000000",
    *,
    config: str | None = None,
    changes: Mapping[str, Any] | None = None,
    summary: Numbers | None = None,
    metrics: Sequence[Mapping[str, float]] | None = None,
    analyses: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    predictions: Sequence[Mapping[str, Any]] | None = None,
    complete: bool = True,
    weights: bool = True,
    tracked: Sequence[str] = (),
) -> Path:
    """Write a run directory ``root/name/run_id`` as the program does, checksums included.

    Args:
        root: the folder of all runs.
        name: of the config, which is one that ships unless ``config`` is.
        run_id: the run directory's own name.
        config: another config that ships, of which the run is called ``name``.
        changes: values of the config by keys with dots, unchecked.
        summary: numbers instead of the plausible ones, or beside them; ``None`` takes one away.
        metrics: lines instead of the plausible ones.
        analyses: records by name.
        environment: entries instead of the plausible ones.
        predictions: rows instead of the plausible ones of a text run.
        complete: whether there is a summary.
        weights: whether a regression run has them.
        tracked: addresses at which all of it has arrived.

    Returns:
        the run directory.
    """
    values = configuration(config or name, changes or {})
    drawn = random.Random(f"{values.get('seed')}-{values.get('demonstrations', {}).get('seed')}")
    is_text, kind = values["experiment"] == "text", values["experiment"]
    made = {"regression": regression_numbers, "text": text_numbers, "language_modeling": language_numbers}
    numbers: dict[str, float | None] = {**made[kind](values, drawn)} if kind in made else {}
    numbers |= summary or {}
    path = root / name / run_id
    path.mkdir(parents=True)
    text = yaml.safe_dump(values, sort_keys=False)
    (path / "config.yaml").write_text(f"{text}{SEAL}{_sha256(text.encode())}\n", encoding="utf-8")
    contents: dict[str, bytes] = {}
    lines = curve(values, {key: value for key, value in numbers.items() if value is not None})
    contents["metrics.jsonl"] = _lines(lines if metrics is None else metrics)
    if predictions is not None or is_text:
        contents["predictions.jsonl"] = _lines(answers(values, drawn) if predictions is None else predictions)
    if weights and kind == "regression":
        contents["weights.safetensors"] = save({f"{model}.query": np.eye(3, dtype=np.float32) for model in ("gd",)})
    for analysis, record in (analyses or {}).items():
        contents[f"analysis/{analysis}.json"] = _json(record)
    if complete:
        contents["summary.json"] = _json({key: value for key, value in numbers.items() if value is not None})
    found: dict[str, Any] = {
        "python": "3.11.7",
        "packages": {"iclgd": "0.1.0", "torch": "2.13.0+cpu", "numpy": "2.4.6"},
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "platform": "Linux-6.1-x86_64-with-glibc2.36",
        "device": "cpu",
        "wandb": {},
        "world_size": 1,
        "processes": [{"rank": 0, "host": "node", "device": "cpu"}],
        **(environment or {}),
    }
    found["checksums"] = {file: _sha256(content) for file, content in contents.items()}
    (path / "environment.json").write_bytes(_json(found))
    if analyses:
        (path / "analysis").mkdir()
    for file, content in contents.items():
        (path / file).write_bytes(content)
    if tracked:
        (path / "tracked.json").write_bytes(_json(list(tracked)))
    return path


def configuration(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config that ships as nested values, with changes by keys with dots."""
    values = copy.deepcopy(_shipped(name))
    for key, value in changes.items():
        *groups, last = key.split(".")
        inner = values
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return values


@functools.cache
def _shipped(name: str) -> dict[str, Any]:
    return configs.to_dict(configs.load(find("config", name)))


def regression_numbers(values: Mapping[str, Any], drawn: random.Random) -> dict[str, float]:
    """Return the summary of a transformer that has become GD, or with several layers GD++."""
    seeds = range(values["seed"], values["seed"] + values["training"]["num_seeds"])
    deep = values["model"]["num_layers"] > 1
    by_seed = []
    for _ in seeds:
        gd = 0.207 * (1 + drawn.gauss(0, 0.01))
        near = gd * (0.7 if deep else 1.0)
        numbers = {
            "loss/transformer": near * (1.001 + abs(drawn.gauss(0, 0.001))),
            "loss/gd": gd,
            "loss/interpolated": near,
            "loss/least_squares": 1e-10,
            "loss/ridge": 0.028,
            "gd/learning_rate": 0.6,
            "gd/loss": gd,
        }
        numbers |= _alignment("", 0.95 if deep else 0.999)
        if deep:
            numbers |= {"loss/gd_plus_plus": near, **_alignment("_gd_plus_plus", 0.998)}
        by_seed.append(numbers)
    found: dict[str, float] = {"train/steps_per_second": 300.0}
    for name in by_seed[0]:
        found[name] = sum(numbers[name] for numbers in by_seed) / len(by_seed)
        if len(by_seed) > 1:
            found |= {f"{name}/seed_{seed}": numbers[name] for seed, numbers in zip(seeds, by_seed, strict=True)}
    return found


def _alignment(suffix: str, cosine: float) -> dict[str, float]:
    return {
        f"alignment/sensitivity_cosine{suffix}": cosine,
        f"alignment/sensitivity_l2{suffix}": 3 * (1 - cosine),
        f"alignment/prediction_l2{suffix}": 0.02 if cosine > 0.99 else 0.2,
    }


def text_numbers(values: Mapping[str, Any], drawn: random.Random) -> dict[str, float]:
    """Return the summary of a comparison that is above its random baseline and its controls."""
    found: dict[str, float] = {"queries_per_second": 900.0, "peak_memory_bytes": 5e8}
    shares = {"": 1.0} | {f"{name}/": CONTROLS.get(name, 0.5) for name in values["evaluation"]["controls"]}
    for prefix, share in shares.items():
        for name, value in (TEXT_NUMBERS | ATTENTION_NUMBERS).items():
            found |= _with_interval(f"{prefix}{name}", value * share + drawn.gauss(0, 0.002), 0.02)
            found |= {f"{prefix}{name}/layer_{layer:02}": value * share for layer in range(LAYERS)}
        for name in RANDOM_NUMBERS:
            found |= _with_interval(f"{prefix}{name}", drawn.gauss(0, 0.002), 0.01)
        for name, value in ACCURACIES.items():
            found |= _with_interval(f"{prefix}accuracy/{name}", value if not prefix else 0.4, 0.05)
        found |= _with_interval(f"{prefix}rec2ftp", 98.0 if not prefix else 50.0, 4.0)
        found[f"{prefix}rec2ftp_queries"] = 20.0
    return found


def _with_interval(name: str, value: float, half: float) -> dict[str, float]:
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def language_numbers(values: Mapping[str, Any], drawn: random.Random) -> dict[str, float]:
    """Return the summary of a language model that learns in its context."""
    accuracies = {0: 0.38, 4: 0.71, 16: 0.86}
    found = {f"accuracy/{number}_demonstrations": value for number, value in accuracies.items()}
    found[f"accuracy/{values['task']['name']}"] = 0.75 + drawn.gauss(0, 0.005)
    return {"val/loss": 2.1, "val/perplexity": 8.2, "val/label_loss": 0.7, "train/tokens_per_second": 1e4, **found}


def curve(values: Mapping[str, Any], summary: Mapping[str, float]) -> list[dict[str, float]]:
    """Return lines of ``metrics.jsonl`` that end at the summary's numbers, and begin with untrained weights."""
    if values["experiment"] == "text":
        return [{"step": step, "finetune/loss": 3.5 - 0.02 * step} for step in range(8)]
    steps = max(1, values.get("trainer", {}).get("max_steps", 100))
    measured = {key: value for key, value in summary.items() if key.startswith(("loss/", "alignment/", "val/"))}
    cosines = {key: 0.02 for key in measured if "cosine" in key}
    losses = {key: 2 * value for key, value in measured.items() if "transformer" in key}
    first = {**measured, **cosines, **losses}
    return [{"step": 0, **first}, {"step": steps // 2, **measured}, {"step": steps, **measured}]


def answers(values: Mapping[str, Any], drawn: random.Random) -> list[dict[str, Any]]:
    """Return rows of ``predictions.jsonl``."""
    labels = ("nature", "home", "play", "travel")
    rows = []
    for query in range(min(4, values["task"]["num_queries"] or 4)):
        label = labels[query % len(labels)]
        for setting in ("zero_shot", "in_context", "finetuned"):
            choice = drawn.choice(labels) if setting == "zero_shot" else label
            scores = {each: -0.2 if each == choice else -3.0 for each in labels}
            row = {"control": None, "query": query, "setting": setting, "text": QUERIES[query % len(QUERIES)]}
            rows.append({**row, "label": label, "choice": choice, "scores": scores})
    return rows


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

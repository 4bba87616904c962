"""Comparisons from Python: a run's numbers, and nothing of the caller's is changed."""

import copy
import doctest
import json
import logging
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import PreTrainedModel

import iclgd
from iclgd import config as configs
from iclgd.checks import InputError
from iclgd.modules.similarities import Similarities
from tests.conftest import ROOT
from tests.language_models import ANSWERS, TEMPLATE, save, task_rows, tiny_model, tiny_tokenizer, write_task
from tests.test_experiment import Cli, run_directory

UNSTEADY = ("queries_per_second", "peak_memory_bytes")
SMALL: dict[str, Any] = {"learning_rate": 0.1, "num_demonstrations": 3, "num_queries": 4}
QUICK = ["evaluation.num_replicates=0", "trainer.accelerator=cpu"]


def rows_task() -> iclgd.data.TextTask:
    return iclgd.data.task_from_rows(task_rows(9), task_rows(7), template=TEMPLATE, answers=ANSWERS)


def numbers(summary: dict[str, float]) -> dict[str, str]:
    """Return all digits of what does not depend on the machine's mood; NaN is NaN."""
    return {name: repr(value) for name, value in summary.items() if name not in UNSTEADY}


def test_numbers_are_those_of_the_run_bit_for_bit(cli: Cli, tmp_path: Path) -> None:
    arguments = ["task.num_queries=24", "demonstrations.num=8", "evaluation.controls=[untrained,shuffled_labels]"]
    arguments += ["evaluation.other_task=null", "evaluation.num_replicates=50", "trainer.accelerator=cpu", "seed=3"]
    code, out, err = cli("run", ROOT / "configs" / "text" / "embedded.yaml", "tracking.mode=disabled", *arguments)
    assert code == 0, err
    directory = run_directory(out)
    config: Any = configs.load(directory.config_path)
    settings: dict[str, Any] = {
        "learning_rate": config.finetune.learning_rate,
        "num_demonstrations": 8,
        "controls": ["untrained", "shuffled_labels"],
        "num_queries": 24,
        "seed": 3,
        "overrides": ["evaluation.num_replicates=50", "trainer.accelerator=cpu", "evaluation.batch_size=256"],
    }
    torch.rand(3)  # the caller's random numbers are not ours
    before = {path for path in tmp_path.rglob("*")}
    by_name = iclgd.compare("embedded", "embedded", **settings)
    by_objects = iclgd.compare(iclgd.load_language_model("embedded"), iclgd.data.load_task("embedded"), **settings)
    assert {path for path in tmp_path.rglob("*")} == before
    summary = directory.read_summary()
    assert summary is not None
    rows = [json.loads(line) for line in (directory.path / "predictions.jsonl").read_text().splitlines()]
    for result in (by_name, by_objects):
        assert numbers(result.summary) == numbers(summary)
        assert result.summary.keys() == summary.keys()
        assert result.predictions == rows
        assert result.config.finetune == config.finetune
        assert result.config.demonstrations == config.demonstrations
    assert len(rows) == 3 * 3 * 24  # comparisons, settings, queries


def test_rows_in_memory_are_as_good_as_files(tmp_path: Path) -> None:
    train, validation = task_rows(9), task_rows(7)
    path = write_task(tmp_path, train=train, validation=validation)
    model, tokenizer = tiny_model("gpt2"), tiny_tokenizer()
    folder = save(tmp_path / "gpt2", model, tokenizer)
    expected = iclgd.compare(folder, path, **SMALL, overrides=QUICK)
    named = [{**row, "label": ANSWERS[row["label"]]} for row in validation]
    task = iclgd.data.task_from_rows(iter(train), named, template=TEMPLATE, answers=ANSWERS)
    found = iclgd.compare((model, tokenizer), task, **SMALL, overrides=QUICK)
    assert numbers(found.summary) == numbers(expected.summary)
    assert found.predictions == expected.predictions
    assert {row["choice"] for row in found.predictions} <= set(ANSWERS)
    assert found.predictions[0]["text"] == TEMPLATE.format(text=validation[0]["text"])


def test_the_documentation_shows_what_happens() -> None:
    failed, attempted = doctest.testfile(str(ROOT / "docs" / "text.md"), module_relative=False)
    assert (failed, attempted) == (0, 7)


def state(thing: Any) -> dict[str, Any]:
    """Return everything that a module, its config and its tensors are: by identity, and by value what can be."""
    found: dict[str, Any] = {}
    for place, module in thing.named_modules():
        for name, value in vars(module).items():
            inner = dict(value) if isinstance(value, dict) else {}
            items = {key: (id(each), repr(each) if callable(each) else "") for key, each in inner.items()}
            found[f"{place}.{name}"] = (id(value), repr(value) if isinstance(value, bool | str | int) else "", items)
        found[f"{place} config"] = repr(vars(getattr(module, "config", object)))
    for name, tensor in (*thing.named_parameters(), *thing.named_buffers()):
        facts = (tensor.data_ptr(), tensor.dtype, tensor.device, tensor.requires_grad, tensor._version, tensor.is_leaf)
        found[name] = (id(tensor), *facts, id(tensor.grad), tensor.detach().clone().numpy().tobytes())
    return found


def surroundings() -> list[Any]:
    """Return what belongs to the program around a comparison."""
    quiet = [logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric")]
    voice = transformers.utils.logging
    return [
        torch.get_rng_state().tolist(),
        random.getstate(),
        repr(np.random.get_state()),  # noqa: NPY002  the global one is meant
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        logging.raiseExceptions,
        list(warnings.filters),
        [*quiet, voice.get_verbosity(), voice.is_progress_bar_enabled()],
    ]


def lived_in(name: str) -> tuple[PreTrainedModel, Any]:
    """Return a model and a tokenizer with all that a user may have done to them, and the hooks' calls."""
    model = tiny_model(name).train().requires_grad_(True)
    if name != "xglm":
        model.set_attn_implementation("eager")
    next(model.parameters()).requires_grad_(False)
    model(input_ids=torch.tensor([[3, 4, 5]])).logits.sum().backward()
    layers = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm | torch.nn.Linear)]
    layers[0].eval()
    layers[0].register_forward_hook(lambda module, inputs, output: None)
    layers[1].register_forward_pre_hook(lambda module, inputs: None)
    model.config.use_cache = False
    model.notes = {"mine": torch.ones(2)}
    return model, tiny_tokenizer()


@pytest.mark.parametrize("name", ["gpt2", "llama", "xglm", "gpt_neo", "gpt_neox", "phi3"])
def test_nothing_of_the_callers_is_changed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = lived_in(name)
    tokenizer.backend_tokenizer.enable_truncation(5)
    tokenizer.backend_tokenizer.enable_padding(length=7)
    torch.set_num_threads(2)
    monkeypatch.chdir(tmp_path)

    def everything() -> list[Any]:
        backend = tokenizer.backend_tokenizer
        of_tokenizer = [backend.to_str(), backend.encode_special_tokens, repr(vars(tokenizer).keys())]
        return [state(model), of_tokenizer, surroundings(), list(tmp_path.rglob("*"))]

    before = everything()
    methods = [[], ["finetune.method=layer_causal"], ["trainer.precision=64-true"]] if name == "gpt2" else [[]]
    for method in methods:
        found = iclgd.compare((model, tokenizer), rows_task(), **SMALL, overrides=[*QUICK, *method])
        assert everything() == before
    assert -1 <= found.summary["sim_aou"] <= 1

    def broken(*_: Any) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(Similarities, "update", broken)
    with pytest.raises(RuntimeError, match="in the middle"):
        iclgd.compare((model, tokenizer), rows_task(), **SMALL, overrides=QUICK)
    assert everything() == before


def test_a_model_in_training_gives_the_numbers_of_its_evaluation() -> None:
    task, tokenizer = rows_task(), tiny_tokenizer()
    model = tiny_model("gpt2", attn_pdrop=0.5, resid_pdrop=0.5)
    expected = iclgd.compare((model, tokenizer), task, **SMALL, overrides=QUICK)
    model.train().requires_grad_(True)
    with torch.inference_mode():
        found = iclgd.compare((model, tokenizer), task, **SMALL, overrides=QUICK)
    assert numbers(found.summary) == numbers(expected.summary)


def test_a_class_of_the_users_own_has_an_untrained_twin() -> None:
    class OwnConfig(transformers.GPT2Config):
        model_type = "nobody_elses"

    class OwnModel(transformers.GPT2LMHeadModel):
        config_class = OwnConfig

    known = tiny_model("gpt2")
    own = OwnModel(OwnConfig(**known.config.to_dict()))
    own.load_state_dict(known.state_dict())
    task, settings = rows_task(), {**SMALL, "controls": ["untrained"], "overrides": QUICK}
    found = [iclgd.compare((model, tiny_tokenizer()), task, **settings).summary for model in (own, known)]
    assert numbers(found[0]) == numbers(found[1])


def test_a_model_keeps_its_precision() -> None:
    model = tiny_model("llama").to(torch.bfloat16)
    found = iclgd.compare((model, tiny_tokenizer()), rows_task(), **SMALL, overrides=QUICK)
    assert model.dtype == torch.bfloat16
    expected = iclgd.compare((copy.deepcopy(model).float(), tiny_tokenizer()), rows_task(), **SMALL, overrides=QUICK)
    assert found.summary["sim_am"] != expected.summary["sim_am"]
    assert found.summary["sim_am"] == pytest.approx(expected.summary["sim_am"], abs=0.05)


def test_a_result_shows_itself() -> None:
    model, tokenizer = tiny_model("gpt2"), tiny_tokenizer()
    model.name_or_path = "<b>bold</b>"
    found = iclgd.compare((model, tokenizer), rows_task(), **SMALL, controls=["shuffled_labels"], overrides=QUICK)
    shown = found._repr_html_()
    assert "sim_aou_random" in shown
    assert "shuffled labels" in shown
    assert 'src="data:image/png;base64,iVBOR' in shown
    assert "<b>bold" not in shown
    assert "bold" in shown
    assert len(found.figure("similarity").axes) == 4
    assert len(found.figure("attention_to_demonstrations").axes) == 5  # with the colours' bar
    with pytest.raises(InputError, match=r"^figure learning_rate: there has been no search"):
        found.figure("learning_rate")
    known = "similarity, attention_to_demonstrations, accuracy, order, learning_rate"
    with pytest.raises(InputError, match=rf"^figure must be one of: {known}; got 'loss'$"):
        found.figure("loss")
    assert len(repr(found)) < 2000


Change = Callable[[PreTrainedModel], None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": 3},
            "model must be a name, a folder, or a PreTrainedModel of transformers and its tokenizer; got int",
        ),
        ({"model": ("gpt2", "gpt2")}, "its tokenizer; got str, str"),
        ({"learning_rate": -1.0}, "finetune.learning_rate must be positive"),
        ({"learning_rate": "fast"}, "finetune.learning_rate must be a number or search, got 'fast'"),
        ({"num_demonstrations": 10}, "demonstrations.num must be at most 9"),
        ({"controls": ["other_task"]}, "evaluation.other_task goes with evaluation.controls"),
        ({"controls": ["nothing"]}, "evaluation.controls must be a list of: untrained"),
        ({"overrides": ["finetune.rate=1"]}, "finetune.rate"),
        ({"overrides": ["task.name=sst2"]}, "overrides: task.name cannot be given here"),
        ({"overrides": ["trainer.devices=2"]}, "overrides: trainer.devices cannot be given here"),
        ({"overrides": ["model.revision=main"]}, "overrides: model.revision cannot be given here"),
        ({"task": "sst"}, "unknown task 'sst'; did you mean"),
    ],
)
def test_mistakes_are_one_line(changes: dict[str, Any], message: str) -> None:
    arguments = {"model": (tiny_model("gpt2"), tiny_tokenizer()), "task": rows_task(), **SMALL} | changes
    with pytest.raises(InputError) as raised:
        iclgd.compare(arguments.pop("model"), arguments.pop("task"), **arguments)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("rows", "keys", "message"),
    [
        ([["a text", 0]], {}, "train row 1: must map fields to values, got list"),
        ([{"text": "warm"}], {}, "train row 1: field 'label' is missing; it has: text"),
        ([{"text": "warm", "label": 2}], {}, "train row 1: field 'label' must be 0 to 1 or one of bad, good; got 2"),
        ([], {}, "no examples in the train data (its rows)"),
        ([{"text": "warm", "label": 0}], {"answers": "bad"}, "answers must be a list of texts, got 'bad'"),
    ],
)
def test_mistakes_in_rows_are_one_line(rows: Any, keys: dict[str, Any], message: str) -> None:
    def compare() -> None:
        task = iclgd.data.task_from_rows(rows, rows, **{"template": TEMPLATE, "answers": ANSWERS, **keys})
        iclgd.compare((tiny_model("gpt2"), tiny_tokenizer()), task, **SMALL)

    with pytest.raises(InputError) as raised:
        compare()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.lm_head.weight.fill_(torch.nan), "are not all finite numbers"),
        (lambda model: model.transformer.h[0].to("meta"), "is not in memory"),
    ],
)
def test_models_that_cannot_be_used_are_refused(change: Change, message: str) -> None:
    model = tiny_model("gpt2")
    with torch.no_grad():
        change(model)
    with pytest.raises(InputError, match=message):
        iclgd.compare((model, tiny_tokenizer()), rows_task(), **SMALL)


def test_a_learning_rate_may_be_searched_for() -> None:
    model = (tiny_model("gpt2"), tiny_tokenizer())
    search = "finetune.search={learning_rates: [0.1, 0.5], num_rows: 3}"
    found = iclgd.compare(model, rows_task(), **{**SMALL, "learning_rate": "search"}, overrides=[*QUICK, search])
    assert found.summary["search/learning_rate"] in (0.1, 0.5)
    assert [row["search/learning_rate"] for row in found.search] == [0.1, 0.5]
    assert found.figure("learning_rate").axes[0].get_xscale() == "log"

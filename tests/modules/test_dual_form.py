"""The module's numbers beside the three settings done by hand."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.nn import functional as F

from iclgd.analysis.finetune import FinetuneConfig, Finetuned, make_loss
from iclgd.analysis.kv_context import run_context
from iclgd.analysis.observe import NO_ANSWER, Observation, observe
from iclgd.data.prompts import Prompts
from iclgd.data.text_datamodule import QueryBatch, TextDataModule
from iclgd.models.language import LanguageModelError
from iclgd.modules import comparison
from iclgd.modules.dual_form import Comparison, DualFormModule
from iclgd.modules.finiteness import finetuning_failure
from iclgd.modules.similarities import EvaluationConfig
from iclgd.runtime.process import prepare_process
from iclgd.runtime.trainer import DeviceConfig, make_trainer
from tests.language_models import query_batch, query_tokens, random_tokens, tiny

LENGTHS = [6, 9, 4, 7, 7, 5, 8, 6, 3, 9, 5]
RATE = 0.1


def prompts(seed: int = 0, num: int = 4) -> Prompts:
    queries = query_tokens(query_batch(LENGTHS))
    return Prompts(
        start=(0,),
        answers=((11,), (12,), (200,)),
        demonstrations=tuple(tuple(random_tokens(6 + k, seed=seed + k + 70).tolist()) for k in range(num)),
        demonstration_labels=(0,) * num,
        separator=(5,),
        queries=tuple(tuple(query) for query in queries),
        labels=tuple(index % 3 for index in range(len(queries))),
    )


def run(
    comparisons: list[Comparison],
    method: str = "gradient_descent",
    batch_size: int = 4,
    rate: float = RATE,
    **evaluation: Any,
) -> DualFormModule:
    prepare_process(num_threads=1)
    config = EvaluationConfig(batch_size=batch_size, **{"num_replicates": 0, **evaluation})
    module = DualFormModule(comparisons, FinetuneConfig(rate, method), config, seed=0)
    data = TextDataModule([item.prompts for item in comparisons], config.batch_size)
    trainer = make_trainer(DeviceConfig(accelerator="cpu"), None, [], [], is_replicated=True)
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    return module


def test_finetuning_that_diverges_gives_no_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    shown, model = prompts(), tiny("gpt2")
    found = run([Comparison("", model, shown), Comparison("shuffled_labels", model, prompts(9))], rate=1e30)
    for prefix in ("", "shuffled_labels/"):
        finite = {name for name, value in found.results.items() if name.startswith(prefix) and math.isfinite(value)}
        assert {f"{prefix}{name}" for name in ("accuracy/zero_shot", "accuracy/in_context", "sim_aou_random")} <= finite
        for name in ("accuracy/finetuned", "put_right", "rec2ftp", "rec2ftp_queries", "sim_aou", "sim_am", "kendall"):
            assert math.isnan(found.results[f"{prefix}{name}"]), name
        for name in ("top_tokens", "top_examples", "kendall_examples", "sim_am_delta", "update_similarity"):
            assert math.isnan(found.results[f"{prefix}{name}"]), name
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" from")[0] for line in lines] == [
        "warning: finetuning: not finite",
        "warning: shuffled_labels: finetuning: not finite",
    ]
    first = next(
        step for step, loss in enumerate(found.comparisons[0].finetuned.losses, start=1) if not loss.isfinite()
    )
    assert f"from demonstration {first} of 4 on (loss " in lines[0]


def test_the_last_step_may_be_the_one_that_diverges() -> None:
    model = tiny("gpt2")
    finetuned = Finetuned(model)
    finetuned.step(prompts().finetuning_examples[0], RATE, make_loss(model, "gradient_descent"))
    assert finetuning_failure(finetuned) is None
    next(iter(finetuned.parameters[1].values()))[0, 0] = math.inf
    assert finetuning_failure(finetuned) == "after demonstration 1 of 1 (weights)"


def test_scores_that_overflow_give_no_answers(capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny("gpt2")
    with torch.no_grad():
        model.model.transformer.h[0].mlp.c_proj.weight.mul_(1e38)
    found = run([Comparison("", model, prompts())])
    for name in ("zero_shot", "in_context", "finetuned"):
        assert math.isnan(found.results[f"accuracy/{name}"])
    lines = capsys.readouterr().err.splitlines()
    assert "warning: scores zero-shot: not finite from layer 1 on; what rests on it is nan" in lines
    assert "warning: scores in-context: not finite from layer 1 on; what rests on it is nan" in lines


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_score_that_is_not_finite_leaves_no_answer(place: int, value: float) -> None:
    scores = torch.tensor([[-1.0, -2.0], [-2.0, -1.0]])
    scores[1, place] = value
    nothing = torch.zeros(2, 1, 1)
    seen = Observation(scores, nothing, nothing, nothing, nothing, nothing, None, None, None, None, nothing)
    assert seen.predictions.tolist() == [0, NO_ANSWER]
    correct = seen.correct(torch.tensor([0, 0]))
    assert correct[0] == 1
    assert correct[1].isnan()


def all_queries(shown: Prompts) -> QueryBatch:
    return query_batch(LENGTHS)._replace(labels=torch.tensor(shown.labels))


def cosine(one: Tensor, other: Tensor) -> Tensor:
    return torch.cosine_similarity(one.double(), other.double(), dim=-1)


@pytest.mark.parametrize("method", ["gradient_descent", "layer_causal"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "xglm"])
def test_results_are_those_of_the_three_settings_by_hand(name: str, method: str) -> None:
    model, shown = tiny(name), prompts()
    results = run([Comparison("", model, shown)], method).results
    batch = all_queries(shown)
    finetuned, loss = Finetuned(model), make_loss(model, method)
    trained_queries, positions, tokens = [], [], list(shown.start)
    for example in shown.demonstrations:
        layers = finetuned.step(shown.start + example, RATE, loss)
        trained_queries.append(torch.stack(layers)[:, len(shown.start) :])
        positions += range(len(tokens), len(tokens) + len(example))
        tokens += [*example, *shown.separator]
    zero_shot = observe(model, batch, shown.answers, shown.start)
    context = run_context(model, tuple(tokens))
    whole = finetuned.parameters
    in_context = observe(model, batch, shown.answers, (), context, whole, torch.tensor(positions))
    with finetuned.applied():
        trained = observe(model, batch, shown.answers, shown.start)
    for setting, seen in (("zero_shot", zero_shot), ("in_context", in_context), ("finetuned", trained)):
        accuracy = (seen.predictions == batch.labels).double().mean().item()
        assert results[f"accuracy/{setting}"] == pytest.approx(accuracy)
    before, *after = (F.normalize(seen.outputs.double(), dim=-1) for seen in (zero_shot, in_context, trained))
    changes = [outputs - before for outputs in after]
    assert results["sim_aou"] == pytest.approx(cosine(*changes).mean().item(), abs=1e-5)
    for index in range(model.num_layers):
        expected = cosine(changes[0][:, index], changes[1][:, index]).mean().item()
        assert results[f"sim_aou/layer_{index:02d}"] == pytest.approx(expected, abs=1e-5)
    assert in_context.context_scores is not None
    assert in_context.context_updates is not None
    assert in_context.weight_updates is not None
    similarity = cosine(in_context.context_updates, in_context.weight_updates).mean().item()
    assert results["update_similarity"] == pytest.approx(similarity, abs=1e-5)
    prompted = in_context.context_scores[..., positions].double().sum(2).numpy()
    trained = torch.einsum("lnd,bld->bln", torch.cat(trained_queries, dim=1).double(), trained.queries.double()).numpy()
    for index in range(model.num_layers):
        pairs = zip(prompted[:, index], trained[:, index], strict=True)
        expected = sum(scipy.stats.kendalltau(*pair).statistic for pair in pairs) / len(LENGTHS)
        assert results[f"kendall/layer_{index:02d}"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("method", ["gradient_descent", "layer_causal"])
def test_the_base_model_is_as_it_was(method: str) -> None:
    model = tiny("gpt2")
    before = {key: weight.clone() for key, weight in model.model.state_dict().items()}
    tokens = torch.tensor(prompts().queries[:1])
    logits = model.model(input_ids=tokens).logits
    run([Comparison("", model, prompts())], method)
    assert all(torch.equal(weight, before[key]) for key, weight in model.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    assert torch.equal(model.model(input_ids=tokens).logits, logits)


def test_comparisons_do_not_disturb_one_another() -> None:
    model, other = tiny("llama"), tiny("llama", seed=1)
    alone = {
        name: run([Comparison(name, used, shown)]).results
        for name, used, shown in (("", model, prompts()), ("b", model, prompts(50)), ("c", other, prompts(num=2)))
    }
    together = run(
        [Comparison("", model, prompts()), Comparison("b", model, prompts(50)), Comparison("c", other, prompts(num=2))]
    ).results
    assert together == pytest.approx(alone[""] | alone["b"] | alone["c"], abs=1e-6, nan_ok=True)
    assert all(key.startswith(("b/", "c/")) for key in together.keys() - alone[""].keys())
    assert together["accuracy/zero_shot"] == together["b/accuracy/zero_shot"]
    assert together["sim_aou"] != together["b/sim_aou"]


def test_zero_shot_is_seen_once_for_each_model(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, bool]] = []

    def count(model: Any, batch: Any, *arguments: Any, **keys: Any) -> Any:
        seen.append((id(model), "context" in keys))
        return observe(model, batch, *arguments, **keys)

    monkeypatch.setattr(comparison, "observe", count)
    model, other = tiny("gpt2"), tiny("gpt2", seed=1)
    run([Comparison("", model, prompts()), Comparison("b", model, prompts(50))], batch_size=100)
    assert len(seen) == 5  # zero-shot, two contexts, two finetuned
    seen.clear()
    run([Comparison("", model, prompts()), Comparison("b", other, prompts())], batch_size=100)
    assert len(seen) == 6


def test_a_single_query_and_a_single_demonstration() -> None:
    shown = prompts(num=1)
    shown = replace(shown, queries=shown.queries[:1], labels=shown.labels[:1])
    results = run([Comparison("", tiny("gpt2"), shown)], num_replicates=5).results
    assert results["accuracy/zero_shot"] in (0, 1)
    assert -1 <= results["sim_aou"] <= 1


def test_a_readout_that_is_not_plain_is_refused_before_anything_is_run() -> None:
    model = tiny("gpt2")
    model.model.lm_head.register_forward_hook(lambda _module, _inputs, output: output * 2)
    model.model.transformer.register_forward_hook(
        lambda _module, _inputs, output: type(output)(last_hidden_state=output.last_hidden_state * 2)
    )
    with pytest.raises(LanguageModelError, match=r"^finetune.method=layer_causal: GPT2LMHeadModel has no plain"):
        run([Comparison("", model, prompts())], "layer_causal")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"batch_size": 0}, "evaluation.batch_size must be at least 1, got 0"),
        ({"num_replicates": -1}, "evaluation.num_replicates must be at least 0, got -1"),
        ({"random_updates": "x"}, "evaluation.random_updates must be one of: gaussian, uniform; got 'x'"),
        (
            {"controls": ["x"]},
            "evaluation.controls must be a list of: untrained, shuffled_labels, other_task; got 'x'",
        ),
        (
            {"controls": ["other_task"]},
            "evaluation.other_task goes with evaluation.controls=[other_task], and only with it",
        ),
    ],
)
def test_unusable_evaluations_are_refused(keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError) as error:
        EvaluationConfig(**keys)
    assert str(error.value) == expected


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run([Comparison("", tiny("gpt2"), prompts())])
    assert list(tmp_path.iterdir()) == []

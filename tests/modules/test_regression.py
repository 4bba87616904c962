from itertools import islice

import pytest
import torch
from lightning.pytorch import Callback

from iclgd import config as configs
from iclgd.analysis.gradients import add_gradients, clip_by_global_norm, stacked_losses
from iclgd.data.datamodules import TaskStream
from iclgd.experiments.regression import Config as RegressionConfig
from iclgd.experiments.regression import prepare
from iclgd.modules.regression import RegressionModule
from iclgd.runtime.process import prepare_process
from iclgd.runtime.recording import Stopwatch
from iclgd.runtime.trainer import make_trainer
from tests.conftest import ROOT

ONE_LAYER = ROOT / "configs" / "regression" / "one_layer.yaml"
SMALL = [
    "task={num_context: 4, input_dim: 3}",
    "training.batch_size=64",
    "evaluation={every_num_steps: 20, num_tasks: 200, gd_plus_plus: optimal}",
    "trainer={max_steps: 50, accelerator: cpu}",
]


def small(*overrides: str) -> RegressionConfig:
    prepare_process(num_threads=1)
    config = configs.load(ONE_LAYER, [*SMALL, *overrides])
    assert isinstance(config, RegressionConfig)
    return config


def train_all(config: RegressionConfig, *callbacks: Callback) -> tuple[RegressionModule, dict[str, float]]:
    data, module, _ = prepare(config)
    trainer = make_trainer(config.trainer, None, [], list(callbacks))
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    return module, {name: value.item() for name, value in trainer.callback_metrics.items()}


def train(config: RegressionConfig, *callbacks: Callback) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    module, metrics = train_all(config, *callbacks)
    return module.comparisons[0].transformer.state_dict(), metrics


def test_the_trainer_takes_the_steps_of_a_plain_loop() -> None:
    config = small()
    stopwatch = Stopwatch()
    trained, _ = train(config, stopwatch)
    assert stopwatch.steps == 50
    assert stopwatch.steps_per_second > 0
    _, module, _ = prepare(config)
    optimizer = module.configure_optimizers()
    for (batch,) in islice(TaskStream(config.task, [config.seed], 64), 50):
        loss = 0.5 * (batch.target - module.comparisons[0].transformer(*batch[:3])).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        clip_by_global_norm(list(module.comparisons[0].transformer.parameters()), config.training.gradient_clip)
        optimizer.step()
    for name, weight in module.comparisons[0].transformer.state_dict().items():
        assert torch.equal(trained[name], weight), name


def test_every_summary_name_is_measured_and_agrees_with_its_definition() -> None:
    config = small("model.num_layers=2", "task.output_dim=2")
    data, module, chosen = prepare(config)
    trainer = make_trainer(config.trainer, None, [], [])
    trainer.test(module, data, verbose=False)
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    alignments = [f"alignment/{measure}" for measure in ("prediction_l2", "sensitivity_cosine", "sensitivity_l2")]
    deep = ["transformer", "gd", "gd_plus_plus"]
    assert sorted(metrics) == sorted(
        alignments
        + [f"{name}_gd_plus_plus" for name in alignments]
        + [f"loss/{name}" for name in (*deep, "interpolated", "least_squares", "ridge")]
        + [f"loss/{name}/layer_{layer:02}" for name in deep for layer in range(3)]
    )
    for name in deep:
        assert metrics[f"loss/{name}/layer_02"] == pytest.approx(metrics[f"loss/{name}"], rel=1e-5)
        assert metrics[f"loss/{name}/layer_00"] == pytest.approx(metrics["loss/gd/layer_00"], rel=1e-5)
    assert metrics["loss/gd_plus_plus"] < metrics["loss/gd"]
    batch = data.evaluation_batch(0)
    loss = 0.5 * (module.comparisons[0].transformer(*batch[:3]) - batch.target).square().sum(-1).mean().item()
    assert metrics["loss/transformer"] == pytest.approx(loss, rel=1e-5)
    assert metrics["loss/gd"] == pytest.approx(chosen["gd/loss"], rel=1e-5)
    difference = module.comparisons[0].transformer(*batch[:3]) - module.comparisons[0].references["gd"](*batch[:3])
    assert metrics["alignment/prediction_l2"] == pytest.approx(difference.norm(dim=-1).mean().item(), rel=1e-5)


def test_evaluation_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole = train(small())
    monkeypatch.setattr("iclgd.data.datamodules.NUM_EVALUATED_AT_ONCE", 7)
    _, parts = train(small())
    assert parts == pytest.approx(whole, rel=1e-5, abs=1e-9)


def test_evaluating_more_often_changes_nothing() -> None:
    rarely, _ = train(small())
    often, _ = train(small("evaluation.every_num_steps=7"))
    assert all(torch.equal(rarely[name], often[name]) for name in rarely)


def test_several_heads_have_no_interpolation() -> None:
    _, metrics = train(small("model.num_heads=2", "model.attention=softmax", "trainer.max_steps=1"))
    assert "loss/interpolated" not in metrics
    assert "loss/transformer" in metrics


def test_recurrent_layers_train() -> None:
    weights, metrics = train(small("model.num_layers=3", "model.recurrent=true"))
    assert sorted(weights) == [f"layers.0.attention.{name}" for name in ("key", "linear", "query", "value")]
    assert metrics["loss/interpolated"] > 0


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_other_precisions_give_the_same_to_their_accuracy(precision: str) -> None:
    _, single = train(small())
    _, other = train(small(f"trainer.precision={precision}"))
    # Double precision draws other tasks, so that only the scale is comparable.
    assert other["loss/gd"] == pytest.approx(single["loss/gd"], rel=0.5 if precision == "64-true" else 0.01)


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu() -> None:
    _, cpu = train(small("trainer.max_steps=1"))
    _, gpu = train(small("trainer.max_steps=1", "trainer.accelerator=gpu"))
    assert gpu["loss/gd"] == pytest.approx(cpu["loss/gd"], rel=1e-4)


def test_several_seeds_train_as_each_would_alone() -> None:
    together, _ = train_all(small("training.num_seeds=3", "seed=5", "model.num_layers=2"))
    for place, seed in enumerate((5, 6, 7)):
        alone, _ = train_all(small(f"seed={seed}", "model.num_layers=2"))
        for name, weight in alone.comparisons[0].transformer.state_dict().items():
            assert torch.equal(together.comparisons[place].transformer.state_dict()[name], weight), (seed, name)


def test_several_seeds_are_measured_as_each_would_be_alone() -> None:
    _, together = train_all(small("training.num_seeds=2", "seed=5"))
    alone = [train_all(small(f"seed={seed}"))[1] for seed in (5, 6)]
    for name in alone[0]:
        for seed, metrics in zip((5, 6), alone, strict=True):
            assert together[f"{name}/seed_{seed}"] == metrics[name]
        assert together[name] == pytest.approx((alone[0][name] + alone[1][name]) / 2, rel=1e-5)


def test_stacked_models_have_the_losses_and_gradients_of_single_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a GPU computes, with its way to multiply small matrices.
    def multiply(left: torch.Tensor, right: torch.Tensor, start: torch.Tensor | None = None) -> torch.Tensor:
        product = torch.einsum("ikb,kjb->ijb", left, right)
        return product if start is None else start + product

    monkeypatch.setattr("iclgd.models.attention.multiply_per_task", multiply)
    architecture = ["model.num_layers=2", "model.num_heads=2", "model.attention=softmax", "model.mlp=true"]
    architecture += ["model.layer_norm=true", "model.momentum=0.5", "model.learn_momentum=true"]
    config = small("training.num_seeds=3", "trainer.precision=64-true", *architecture)
    _, module, _ = prepare(config)
    models = [comparison.transformer.double() for comparison in module.comparisons]
    batches = next(iter(TaskStream(config.task, [0, 1, 2], 16, dtype=torch.float64)))
    losses = add_gradients(models, batches, torch.Tensor.backward)
    expected = [[parameter.grad.clone() for parameter in model.parameters()] for model in models]
    for model in models:
        model.zero_grad()
    stacked = stacked_losses(models, batches)
    stacked.sum().backward()
    assert torch.allclose(stacked, losses, rtol=1e-12)
    for model, gradients in zip(models, expected, strict=True):
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            assert torch.allclose(parameter.grad, gradient, rtol=1e-9, atol=1e-15)


def test_separate_tokens_have_copying_norms() -> None:
    overrides = ["model.num_layers=2", "model.tokens=separate", "model.first_attention=softmax"]
    encoding = ["model.positional_encoding=concatenate", "model.positional_channels=4"]
    _, metrics = train_all(small(*overrides, *encoding, "trainer.max_steps=1"))
    assert metrics["copying/own"] > metrics["copying/next"] >= 0
    _, one_layer = train_all(small("trainer.max_steps=1"))
    assert metrics["loss/gd"] == one_layer["loss/gd"]  # one layer has to copy, one can learn
    assert "loss/gd_plus_plus" not in metrics
    assert "loss/interpolated" not in metrics


def test_the_sine_trains_its_reference_too() -> None:
    overrides = ["task={name: sine, input_dim: 1}", "model={in_projection: 8, input_mlp: true, init_scale: 0.1}"]
    module, metrics = train_all(small(*overrides, "training.learning_rate=0.003", "training.gradient_clip=100"))
    _, untrained, _ = prepare(small(*overrides))
    before = untrained.comparisons[0].references["mlp_gd"].state_dict()
    after = module.comparisons[0].references["mlp_gd"].state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert metrics["loss/mlp_gd"] < 0.0225  # predicting 0 has 0.026
    assert "loss/gd" not in metrics


def test_the_learning_rate_falls_to_zero_along_a_cosine() -> None:
    _, metrics = train_all(small("training.schedule=cosine"))
    _, constant = train_all(small())
    assert metrics["loss/transformer"] != constant["loss/transformer"]
    config = small("training.schedule=cosine", "training.learning_rate=0.1").training
    rates = [config.learning_rate_at(step, 100) for step in (0, 50, 100)]
    assert rates == pytest.approx([0.1, 0.05, 0.0], abs=1e-12)
    assert small().training.learning_rate_at(99, 100) == 1e-3


def test_the_learning_rate_may_rise_first() -> None:
    config = small("training.warmup_steps=4", "training.learning_rate=0.1").training
    rates = [config.learning_rate_at(step, 100) for step in range(6)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


@pytest.mark.gpu
def test_seeds_stacked_on_a_gpu_train_as_each_would_alone() -> None:
    overrides = ("trainer.accelerator=gpu", "trainer.precision=64-true", "trainer.max_steps=20", "model.num_layers=2")
    together, _ = train_all(small(*overrides, "training.num_seeds=3", "seed=5"))
    for place, seed in enumerate((5, 6, 7)):
        alone, _ = train_all(small(*overrides, f"seed={seed}"))
        for name, weight in alone.comparisons[0].transformer.state_dict().items():
            assert torch.allclose(together.comparisons[place].transformer.state_dict()[name], weight, rtol=1e-6)

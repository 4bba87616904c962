from itertools import islice

import pytest
import torch
from lightning.pytorch import Callback

from iclgd import config as configs
from iclgd.config import RegressionConfig
from iclgd.data.datamodules import TaskStream
from iclgd.experiment import build, prepare_process
from iclgd.modules.recording import Stopwatch
from iclgd.modules.regression import clip_by_global_norm
from iclgd.modules.trainer import make_trainer
from tests.conftest import ROOT

ONE_LAYER = ROOT / "configs" / "regression" / "one_layer.yaml"
SMALL = [
    "task={num_context: 4, input_dim: 3}",
    "training.batch_size=64",
    "evaluation={every_num_steps: 20, num_tasks: 200}",
    "trainer={max_steps: 50, accelerator: cpu}",
]


def small(*overrides: str) -> RegressionConfig:
    prepare_process(num_threads=1)
    return configs.load(ONE_LAYER, [*SMALL, *overrides])


def train(config: RegressionConfig, *callbacks: Callback) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    data, module, _ = build(config)
    trainer = make_trainer(config.trainer, None, [], list(callbacks))
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return module.transformer.state_dict(), metrics


def test_the_trainer_takes_the_steps_of_a_plain_loop() -> None:
    config = small()
    stopwatch = Stopwatch()
    trained, _ = train(config, stopwatch)
    assert stopwatch.steps == 50
    assert stopwatch.steps_per_second > 0
    _, module, _ = build(config)
    optimizer = module.configure_optimizers()
    for batch in islice(TaskStream(config.task, config.seed, 64), 50):
        loss = 0.5 * (batch.target - module.transformer(*batch[:3])).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        clip_by_global_norm(list(module.transformer.parameters()), config.training.gradient_clip)
        optimizer.step()
    for name, weight in module.transformer.state_dict().items():
        assert torch.equal(trained[name], weight), name


def test_every_summary_name_is_measured_and_agrees_with_its_definition() -> None:
    config = small("model.num_layers=2", "task.output_dim=2")
    data, module, best = build(config)
    trainer = make_trainer(config.trainer, None, [], [])
    trainer.test(module, data, verbose=False)
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert sorted(metrics) == [
        "alignment/prediction_l2",
        "alignment/sensitivity_cosine",
        "alignment/sensitivity_l2",
        "loss/gd",
        "loss/interpolated",
        "loss/least_squares",
        "loss/ridge",
        "loss/transformer",
    ]
    batch = data.evaluation_batch()
    loss = 0.5 * (module.transformer(*batch[:3]) - batch.target).square().sum(-1).mean().item()
    assert metrics["loss/transformer"] == pytest.approx(loss, rel=1e-5)
    assert metrics["loss/gd"] == pytest.approx(best.loss, rel=1e-5)
    difference = module.transformer(*batch[:3]) - module.construction(*batch[:3])
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
    assert sorted(weights) == [f"layers.0.{name}" for name in ("key", "linear", "query", "value")]
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

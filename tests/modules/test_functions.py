"""Training on function classes: beside the published steps, and beside itself stopped, shared out, evaluated."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor

from iclgd import config as configs
from iclgd.data.datamodules import Batches
from iclgd.data.function_datamodule import NEW_FUNCTIONS, FunctionStream
from iclgd.data.functions import Curriculum, FunctionBatch, LinearFunctions, LinearFunctionTask
from iclgd.experiments.functions import Config, prepare
from iclgd.models.function_transformer import FunctionTransformer, FunctionTransformerConfig
from iclgd.modules.functions import FunctionModule, TrainingConfig, shown_positions
from iclgd.runtime.process import prepare_process
from iclgd.runtime.trainer import TrainerConfig, make_trainer, train_and_test
from tests.conftest import ROOT
from tests.function_references import arrays, numbers
from tests.language_models import assert_close_weights
from tests.published_backbones import garg_weights, load_garg

LINEAR = ROOT / "configs" / "functions" / "linear_small.yaml"
TINY = (
    "task={input_dim: 3, num_points: 7}",
    "model={num_layers: 1, num_heads: 2, hidden_size: 8}",
    "training={batch_size: 4, warmup_steps: 2}",
    "evaluation={every_num_steps: 5, num_prompts: 12, num_fitted_prompts: 2}",
    "trainer={max_steps: 10, accelerator: cpu}",
)


def tiny(*overrides: str) -> Config:
    config = configs.load(LINEAR, [*TINY, *overrides])
    assert isinstance(config, Config)
    return config


def train(
    config: Config, *callbacks: Callback, checkpoint: Path | None = None
) -> tuple[FunctionModule, dict[str, float]]:
    prepare_process(num_threads=1)
    data, module = prepare(config)
    return module, train_and_test(make_trainer(config.trainer, None, [], list(callbacks)), module, data, checkpoint)


class Given(LightningDataModule):
    """One given batch an epoch, and nothing to evaluate on."""

    def __init__(self, batches: list[FunctionBatch]) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> Batches[Iterator[FunctionBatch]]:
        assert self.trainer is not None
        return Batches([iter([self.batches[self.trainer.global_step]])])

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch


class Losses(Callback):
    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def published_steps(stored: dict[str, Tensor]) -> list[FunctionBatch]:
    batches = []
    for step in range(int(stored["steps"])):
        x, y = stored[f"step{step}.xs"], stored[f"step{step}.ys"]
        batches.append(FunctionBatch(x, y, x, y, y, LinearFunctions(torch.zeros(len(y), x.shape[2]))))
    return batches


def test_training_steps_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = arrays("C7_training")
    batches = published_steps(stored)
    task = LinearFunctionTask(input_dim=4, num_points=7)
    config = FunctionTransformerConfig(int(stored["n_layer"]), int(stored["n_head"]), hidden_size=8)
    model = FunctionTransformer(config, 4, 7, torch.Generator())
    load_garg(model, stored, "initial.")
    growth = Curriculum(start_dims=2, dims_interval=2, start_points=3, points_interval=2)
    training = TrainingConfig(learning_rate=stored["lr"].item(), batch_size=5, curriculum=growth)
    module, losses = FunctionModule(model, task, training), Losses()
    predictions: list[Tensor] = []
    predict = FunctionTransformer._predict

    def noting(self: FunctionTransformer, *arguments: Any) -> Tensor:
        predictions.append(predict(self, *arguments))
        return predictions[-1]

    monkeypatch.setattr(FunctionTransformer, "_predict", noting)
    prepare_process(num_threads=1)
    trainer = TrainerConfig(max_steps=len(batches), precision="64-true", accelerator="cpu")
    make_trainer(trainer, None, [], [losses]).fit(module, Given(batches))
    assert len(losses.seen) == len(predictions) == len(batches) == 7
    for step, (prediction, seen) in enumerate(zip(predictions, losses.seen, strict=True)):
        expected = stored[f"step{step}.predictions"]
        assert (prediction - expected).abs().max() <= 1e-4 * expected.abs().max()
        of_positions = (prediction - batches[step].y).square().mean(0)
        torch.testing.assert_close(of_positions, stored[f"step{step}.pointwise_loss"], rtol=5e-5, atol=0)
        assert seen["train/loss"] == pytest.approx(stored[f"step{step}.loss"].item(), rel=5e-5)
        assert seen["train/excess_loss"] == pytest.approx(stored[f"step{step}.excess_loss"].item(), rel=5e-5)
    for name, weight in garg_weights(model).items():
        expected = stored[f"final.{name}"]
        error = (weight - expected).abs() / expected.abs().clamp(min=0.1)
        if name.endswith("c_attn.bias"):
            error = torch.cat([error[:8], error[16:]])  # the keys' has no gradient but rounding
        assert error.max() <= 2e-3, name


@pytest.mark.parametrize("case", ["triangle_example", "triangle_small"])
def test_the_learning_rate_is_the_published_triangle(case: str) -> None:
    stored = numbers("D4_schedules")[f"{case}.triangle"]
    config = TrainingConfig(learning_rate=stored["lr"], schedule="triangle", warmup_steps=stored["warmup"])
    rates = [config.learning_rate_at(step, stored["total"]) for step in stored["step"]]
    # Published in single precision, of which 1 - step / total keeps few digits near the end.
    assert rates == pytest.approx(stored["value"], rel=1e-5, abs=5e-8 * stored["lr"])


def test_without_a_warm_up_the_triangle_begins_at_its_peak() -> None:
    config = TrainingConfig(learning_rate=1.0, schedule="triangle")
    assert [config.learning_rate_at(step, 4) for step in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_the_trainer_takes_the_steps_of_a_plain_loop() -> None:
    config = tiny("training.curriculum={start_dims: 1, dims_interval: 2, start_points: 2, points_interval: 3}")
    trained, _ = train(config)
    _, module = prepare(config)
    optimizer = torch.optim.Adam(module.model.parameters())
    stream = FunctionStream(config.task, config.training.curriculum, config.seed, config.training.batch_size)
    sizes = []
    for step, batch in enumerate(islice(stream, 10)):
        sizes.append((int((batch.x != 0).any(0).any(0).sum()), batch.y.shape[1]))
        optimizer.param_groups[0]["lr"] = config.training.learning_rate_at(step, 10)
        optimizer.zero_grad()
        (module.model.at_every_position(batch.x, batch.y) - batch.y).square().mean().backward()
        optimizer.step()
    assert sizes == [(1, 2), (1, 2), (2, 2), (2, 4), (3, 4), (3, 4), (3, 6), (3, 6), (3, 6), (3, 7)]
    assert_close_weights(trained.model.state_dict(), module.model.state_dict(), 1e-6)


def test_evaluating_more_often_changes_nothing() -> None:
    seldom, often = (train(tiny(f"evaluation.every_num_steps={number}"))[0].model for number in (10, 3))
    assert all(torch.equal(weight, often.state_dict()[name]) for name, weight in seldom.state_dict().items())


def test_errors_are_those_of_their_definition() -> None:
    config = tiny("task.name=noisy_linear", "task.num_tasks=3", "evaluation.noiseless=true")
    module, summary = train(config)
    data, _ = prepare(config)
    for prefix in ("", NEW_FUNCTIONS):
        batch = data.evaluation_batch(prefix)
        with torch.no_grad():
            errors = (module.model.at_every_position(batch.x, batch.y) - batch.functions(batch.x)).square() / 3
        torch.testing.assert_close(module.errors[prefix] / 3, errors, rtol=1e-4, atol=1e-6)
        of_positions = errors.double().mean(0)
        assert summary[f"{prefix}error/transformer"] == pytest.approx(of_positions.mean().item(), rel=1e-4)
        for position in (3, 6):
            name = f"{prefix}error/transformer/at_{position:02}"
            assert summary[name] == pytest.approx(of_positions[position].item(), rel=1e-4)
    pool = config.task.pool().parameters()["weight"]
    of_pool, new = (data.evaluation_batch(prefix).functions.parameters()["weight"] for prefix in ("", NEW_FUNCTIONS))
    assert all((pool == weight).all(1).any() for weight in of_pool)
    assert not any((pool == weight).all(1).any() for weight in new)


def test_a_shifted_query_is_trained_and_evaluated_on() -> None:
    module, summary = train(tiny("task.query=opposite_quadrants"))
    batch = prepare(tiny("task.query=opposite_quadrants"))[0].evaluation_batch()
    assert batch.query is not batch.x
    with torch.no_grad():
        error = (module.model.at_every_position(batch.x, batch.y, batch.query) - batch.target).square().mean() / 3
    assert summary["error/transformer"] == pytest.approx(error.item(), rel=1e-4)


@pytest.mark.parametrize("query", ["standard", "orthogonal"])
def test_parts_of_prompts_keep_what_is_the_same(query: str) -> None:
    batch = LinearFunctionTask(input_dim=3, num_points=5, query=query).sample(6, torch.Generator())
    part = batch.part(slice(2, 5))
    assert torch.equal(part.target, batch.target[2:5])
    assert torch.equal(part.functions(part.query), part.noiseless)
    assert (part.query is part.x) == (part.target is part.y) == (query == "standard")
    assert (part.to(torch.device("cpu")).query is part.x) == (query == "standard")


def test_processes_share_out_the_prompts_of_one() -> None:
    task = LinearFunctionTask(input_dim=3, num_points=5)
    whole, *parts = (
        FunctionStream(task, Curriculum(), seed=1, batch_size=6, shard=shard).batch(4)
        for shard in ((0, 1), (0, 2), (1, 2))
    )
    assert torch.equal(torch.cat([part.y for part in parts]), whole.y)
    assert all(len(part.y) == 3 and part.query is part.x for part in parts)


def test_a_stream_goes_on_at_any_step() -> None:
    stream = FunctionStream(LinearFunctionTask(input_dim=3, num_points=5), Curriculum(), seed=1, batch_size=2)
    batches = [batch.y for batch in islice(stream, 6)]
    later = next(iter(replace(stream, first_step=5)))
    assert torch.equal(later.y, batches[5])
    assert not torch.equal(batches[4], batches[5])


@pytest.mark.parametrize(("precision", "tolerance"), [("64-true", 1e-4), ("bf16-mixed", 0.05)])
def test_other_precisions_give_the_same_to_their_accuracy(precision: str, tolerance: float) -> None:
    single, other = (train(tiny(f"trainer.precision={each}"))[1] for each in ("32-true", precision))
    assert other == pytest.approx(single, rel=tolerance)


def test_a_training_that_diverges_is_named_once_and_has_no_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    _, summary = train(tiny("training={learning_rate: 1e30, schedule: constant, warmup_steps: 0}"))
    assert not torch.tensor(summary["error/transformer"]).isfinite()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert re.search(r"the training loss is not finite from step \d+ on; try a smaller training.learning_rate", line)


def test_positions_have_their_names() -> None:
    assert shown_positions(LinearFunctionTask(input_dim=5, num_points=11)) == [5, 10]
    assert shown_positions(LinearFunctionTask(input_dim=5, num_points=4)) == [3]

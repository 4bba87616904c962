"""A run whose layers learn a momentum, from its summary to its analyses and to its models, opened again."""

from pathlib import Path

import pytest

import iclgd
from iclgd.experiments.regression_models import make_data
from iclgd.models import GradientDescentMomentum, Transformer
from tests.test_experiment import Cli, numbers, run_directory

CONFIG = """\
experiment: regression
task: {num_context: 5, input_dim: 3}
model: {num_layers: 3, momentum: 0.3, learn_momentum: true}
training: {num_seeds: 2, batch_size: 16}
evaluation: {every_num_steps: 2, num_tasks: 64, gd_plus_plus: none}
analysis: {run: [which_algorithm], num_tasks: 64, num_resamples: 10}
trainer: {max_steps: 4, accelerator: cpu}
tracking: {mode: disabled}
"""


def test_a_run_learns_a_momentum_and_is_compared_with_gd_with_momentum(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iclgd.report.figures.DOTS_PER_INCH", 30)
    path = tmp_path / "momentum.yaml"
    path.write_text(CONFIG)
    code, out, err = cli("run", path)
    assert code == 0, err
    summary, directory = numbers(run_directory(out)), run_directory(out)
    run = iclgd.load_run(directory.path)
    data = make_data(run.config)
    for seed in (0, 1):
        of_seed = f"/seed_{seed}"
        transformer, construction = (run.models[f"{name}{of_seed}"] for name in ("transformer", "gd_momentum"))
        assert isinstance(transformer, Transformer)
        for layer in (2, 3):
            momentum = transformer.sequence()[layer - 1].momentum
            assert summary[f"transformer/momentum/layer_{layer:02}{of_seed}"] == pytest.approx(float(momentum))
            assert 0 < abs(float(momentum) - 0.3) < 0.01  # it has begun to learn
        assert f"transformer/momentum/layer_01{of_seed}" not in summary
        rates = [summary[f"gd_momentum/{name}{of_seed}"] for name in ("learning_rate", "momentum")]
        batch = data.evaluation_batch(seed)
        learned = GradientDescentMomentum(*rates, num_steps=3)(*batch[:3])
        assert (construction(*batch[:3]) - learned).abs().max() < 1e-5
        loss = 0.5 * (learned - batch.target).square().sum(-1).mean().item()
        for name in ("loss/gd_momentum", "loss/gd_momentum/layer_03", "gd_momentum/loss"):
            assert summary[f"{name}{of_seed}"] == pytest.approx(loss, rel=1e-5)
        assert summary[f"gd_momentum/loss{of_seed}"] < summary[f"gd/loss{of_seed}"]
    for measure in ("sensitivity_cosine", "sensitivity_l2", "prediction_l2"):
        assert f"alignment/{measure}_gd_momentum" in summary
    learners = {row["learner"] for row in run.analysis["which_algorithm"]["seeds"][0]["rows"]}
    assert {name for name in learners if "momentum" in name} == {
        "gd_momentum(2)", "gd_momentum(3)", "gd_momentum(1 of 3)", "gd_momentum(2 of 3)"
    }  # fmt: skip
    assert {figure.stem for figure in directory.figures.iterdir()} >= {"weights", "layers", "alignment"}

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from iclgd.analysis.sensitivity import predict_with_sensitivity
from iclgd.metrics import HalfMeanSquaredError, PredictionL2, SensitivityCosine, SensitivityL2
from iclgd.metrics.mean import MeanMetric
from tests.fixtures import assert_close, load_reference, problem, transformer

METRICS = [SensitivityCosine, SensitivityL2, PredictionL2, HalfMeanSquaredError]


def arguments(metric: type[MeanMetric], num_tasks: int = 30) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (num_tasks, 2, 5) if metric in (SensitivityCosine, SensitivityL2) else (num_tasks, 2)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def in_numpy(metric: type[MeanMetric], preds: Tensor, target: Tensor) -> float:
    """The formulas once more, task by task, in double precision."""
    terms = []
    for a, b in zip(preds.double().numpy(), target.double().numpy(), strict=True):
        if metric is HalfMeanSquaredError:
            terms.append(0.5 * np.sum((a - b) ** 2))
        elif metric is PredictionL2:
            terms.append(np.sqrt(np.sum((a - b) ** 2)))
        else:
            for u, v in zip(a, b, strict=True):
                if metric is SensitivityL2:
                    terms.append(np.linalg.norm(u - v))
                else:
                    terms.append(u @ v / ((np.linalg.norm(u) + 1e-8) * (np.linalg.norm(v) + 1e-8)))
    return float(np.mean(terms))


@pytest.mark.parametrize(
    ("name", "num_layers", "attention"),
    [
        ("A3_align_L1_full", 1, "linear"),
        ("A3_align_L1_partial", 1, "linear"),
        ("A3_align_L2rec_noisy", 2, "linear"),
        ("A3_align_softmax2", 1, "softmax"),
    ],
)
def test_alignment_equals_published(name: str, num_layers: int, attention: str) -> None:
    arrays = load_reference(name)
    x, y, query = problem(arrays["tokens"])
    trained = transformer(arrays, "tf_", num_layers=num_layers, attention=attention)
    construction = transformer(arrays, "gd_", num_layers=num_layers)
    results = {}
    for model, key in ((trained, "tf"), (construction, "gd")):
        prediction, sensitivity = predict_with_sensitivity(model, x, y, query)
        assert_close(-prediction[:, 0], arrays[f"{key}_raw_output"])  # the reference keeps the sign of the token
        assert_close(-sensitivity[:, 0], arrays[f"{key}_sensitivity"])
        results[key] = (prediction, sensitivity)
    (prediction, sensitivity), (gd_prediction, gd_sensitivity) = results["tf"], results["gd"]
    for metric, pair, key in (
        (SensitivityCosine(), (sensitivity, gd_sensitivity), "cos"),
        (SensitivityL2(), (sensitivity, gd_sensitivity), "model_diff"),
        (PredictionL2(), (prediction, gd_prediction), "pred_diff"),
    ):
        metric.update(*pair)
        assert_close(metric.compute(), arrays[key])


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_equal_numpy(metric: type[MeanMetric]) -> None:
    preds, target = arguments(metric)
    measured = metric()
    measured.update(preds, target)
    assert measured.compute().item() == pytest.approx(in_numpy(metric, preds, target), rel=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("batch_size", [1, 7, 30])
def test_metrics_do_not_depend_on_the_batch_size(metric: type[MeanMetric], batch_size: int) -> None:
    preds, target = arguments(metric)
    measured = metric()
    for start in range(0, 30, batch_size):
        measured.update(preds[start : start + batch_size], target[start : start + batch_size])
    assert measured.compute().item() == pytest.approx(in_numpy(metric, preds, target), rel=1e-5)


def test_zero_sensitivity_has_cosine_zero() -> None:
    metric = SensitivityCosine()
    metric.update(torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]]]), torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]]))
    assert metric.compute().item() == pytest.approx(0.5)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@pytest.mark.parametrize("metric", METRICS)
def test_an_empty_set_has_no_mean(metric: type[MeanMetric]) -> None:
    assert torch.isnan(metric().compute())


@pytest.mark.parametrize("metric", METRICS)
def test_shapes_must_agree(metric: type[MeanMetric]) -> None:
    preds, target = arguments(metric)
    axes = r"\(B, O, D\) = \(30, 2, 5\)" if preds.dim() == 3 else r"\(B, O\) = \(30, 2\)"
    with pytest.raises(ValueError, match=rf"^target must have shape {axes}, got \(29, 2"):
        metric().update(preds, target[1:])
    flat = re.escape("(B, O, D)" if preds.dim() == 3 else "(B, O)")
    with pytest.raises(ValueError, match=rf"^preds must have shape {flat}, got \(30,\)$"):  # not one long vector
        metric().update(torch.ones(30), torch.ones(30))

"""which_algorithm for any callable."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import iclgd
from iclgd.analysis.algorithms import which_algorithm as of_runs
from iclgd.analysis.candidates import Candidate
from iclgd.analysis.subject import Subject
from iclgd.checks import InputError
from iclgd.data import LinearRegressionTask, SineTask
from iclgd.models import GradientDescent
from iclgd.models.constructions import gd_plus_plus_transformer, gradient_descent_transformer
from iclgd.models.learners import best_learning_rate

TASK = LinearRegressionTask(num_context=5, input_dim=3)
FEW = {"num_tasks": 150, "num_resamples": 10}


def best(num_steps: int, task: LinearRegressionTask = TASK) -> GradientDescent:
    tasks = task.sample(2000, torch.Generator().manual_seed(5))
    return GradientDescent(best_learning_rate(*tasks, num_steps).learning_rate, num_steps)


def test_a_callable_is_named_with_distances_table_and_figure() -> None:
    result = iclgd.which_algorithm(best(2), TASK, depth=2, **FEW)
    assert result.learner == "gd(2)"
    assert next(iter(result.distances)) == result.verdicts[-1]["nearest"]
    assert list(result.distances.values()) == sorted(result.distances.values())
    assert repr(result).startswith("Layer 1: gd(2). Nearest: ")
    cells = [str(cell) for column in result.table().columns for cell in column.cells]
    assert "gd(2)" in cells
    figure = result.figure()
    assert figure is not None
    assert figure.axes[0].get_title(loc="left").startswith("Layer 1: gd(2).")


def test_a_transformer_has_the_verdicts_of_a_run_layer_by_layer() -> None:
    model = gd_plus_plus_transformer(3, [0.4, 0.4], [0.05, 0.05])
    expected = of_runs([Subject(7, TASK, model, {})], 150, 10)
    assert iclgd.which_algorithm(model, TASK, seed=7, **FEW).record == expected
    assert [verdict["layer"] for verdict in expected["seeds"][0]["verdicts"]] == [1, 2]


def test_a_model_that_is_none_of_the_learners() -> None:
    result = iclgd.which_algorithm(lambda x, y, query: 3 + 10 * query.sum(-1, keepdim=True), TASK, **FEW)
    assert result.learner == "none is near"
    assert repr(result).startswith("Layer 1: none is near.")


def test_a_learner_of_ones_own_is_a_candidate() -> None:
    def mine(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        return y.sum(1) * query[:, :1]

    assert iclgd.which_algorithm(mine, TASK, candidates={"mine": Candidate(mine, 0)}, **FEW).learner == "mine"


def test_a_module_is_left_as_it_was() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            construction = gradient_descent_transformer(3, 1, best(1).learning_rate)
            self.inner = construction.double().requires_grad_(True)
            self.dropout = nn.Dropout(0.5)

        def forward(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
            assert x.dtype == torch.float64
            prediction: Tensor = self.dropout(self.inner(x, y, query))
            return prediction

    model = Model()
    model.inner.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert iclgd.which_algorithm(model, TASK, **FEW).learner == "gd(1)"  # which dropout would hide
    assert [part.training for part in (model, model.inner, model.dropout)] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_tasks_by_name_and_tasks_that_are_not_linear() -> None:
    by_name = iclgd.which_algorithm(best(1, LinearRegressionTask()), "linear", **FEW)
    assert by_name.learner == "gd(1)"
    assert "bayes_optimal" in by_name.distances
    sine = iclgd.which_algorithm(GradientDescent(0.002), SineTask(), **FEW)
    assert "bayes_optimal" not in sine.distances


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "must be a callable"),
        (lambda x, y, query: query, r"of shape \(B, O\) = \(2, 1\), got \(2, 3\)"),
        (lambda x, y, query: 0.0, "must return a tensor of shape .* got float"),
        (lambda x, y, query: query[:, :1].detach(), "has no gradient by the query"),
        (lambda x, y, query: torch.zeros(len(x), 1), "has no gradient by the query"),
        (lambda x, y, query: torch.from_numpy(np.asarray(query[:, :1].numpy())), "has no gradient by the query"),
        (lambda x, y, query: nn.Parameter(torch.zeros(len(x), 1)), "has no gradient by the query"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(model: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        iclgd.which_algorithm(model, TASK, **FEW)  # type: ignore[arg-type]


def test_arguments_that_cannot_be_used_are_refused() -> None:
    message = "task must be a regression task, a function class or one of: linear, sine; got 'cosine'"
    with pytest.raises(InputError, match=message):
        iclgd.which_algorithm(GradientDescent(0.5), "cosine")
    for name in ("num_tasks", "num_resamples", "depth"):
        with pytest.raises(InputError, match=f"{name} must be at least"):
            iclgd.which_algorithm(GradientDescent(0.5), TASK, **{name: 0})  # type: ignore[arg-type]


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = "import iclgd, sys; assert 'which_algorithm' in dir(iclgd); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "lightning", "numpy", "matplotlib", "rich"}

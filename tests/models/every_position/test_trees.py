"""Greedy and boosted trees beside the published predictions."""

import sys

import pytest
import torch

from iclgd.models.every_position.trees import BoostedTrees, GreedyTree
from tests.fixtures import assert_close
from tests.function_references import arrays


@pytest.mark.parametrize(("name", "max_depth"), [("depth_2", 2), ("depth_4", 4), ("unbounded", None)])
@pytest.mark.parametrize("data", ["", "_noisy", "_signs"])
def test_greedy_trees_predict_as_published(name: str, max_depth: int | None, data: str) -> None:
    stored = arrays("C4_trees")
    noisy = "_noisy" if data == "_noisy" else ""
    x, y = stored[f"xs{noisy}"].float(), stored[f"ys{noisy}"].float()
    repetition = 2
    seed = int(stored["numpy_seeds"][repetition])  # of the stream that breaks ties
    ours = GreedyTree(signs=data == "_signs", seed=seed, max_depth=max_depth).at_every_position(x, y)
    theirs = stored[f"{name}{data}"]
    assert_close(ours.double(), theirs[repetition], 2e-5)
    if data != "_signs":
        assert (theirs[repetition] - theirs[0]).abs().max() > 0.1  # with other ties other answers


@pytest.mark.parametrize(
    ("version", "learner"),
    [("3_2_0", BoostedTrees()), ("1_6_1", BoostedTrees(base_score=0.5, tree_method="exact"))],
)
def test_boosted_trees_predict_as_published(version: str, learner: BoostedTrees) -> None:
    stored = arrays(f"C4_xgboost_{version}")
    positions = [0, 1, 2, 5, 17]
    for noisy in ("", "_noisy"):
        x, y = stored[f"xs{noisy}"][:2].float(), stored[f"ys{noisy}"][:2].float()
        ours = learner.at_every_position(x, y, positions=positions)
        assert_close(ours.double(), stored[f"predictions{noisy}"][:2, positions], 1e-3)


def test_the_call_of_a_predictor_is_the_last_position() -> None:
    stored = arrays("C4_trees")
    x, y = stored["xs"][:2], stored["ys"][:2]
    everywhere = GreedyTree().at_every_position(x, y)
    torch.testing.assert_close(GreedyTree()(x[:, :17], y[:, :17, None], x[:, 17])[:, 0], everywhere[:, 17])


@pytest.mark.parametrize(
    ("learner", "package", "message"),
    [
        (GreedyTree(), "sklearn", r'greedy trees need scikit-learn: pip install "iclgd\[baselines\]"'),
        (BoostedTrees(), "xgboost", r'boosted trees need XGBoost: pip install "iclgd\[baselines\]"'),
    ],
)
def test_what_is_not_installed_is_named(
    learner: GreedyTree | BoostedTrees, package: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=message):
        learner.at_every_position(torch.ones(1, 2, 1), torch.ones(1, 2))


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"greedy_tree.max_depth must be at least 1, got 0"):
        GreedyTree(max_depth=0)
    with pytest.raises(ValueError, match=r"boosted_trees.num_rounds must be at least 1, got 0"):
        BoostedTrees(num_rounds=0)

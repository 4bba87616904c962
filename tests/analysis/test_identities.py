from collections.abc import Callable
from typing import Any

import pytest
import torch

from iclgd.analysis.identities import IDENTITIES, TOLERANCE, Identity, largest_error
from iclgd.models.gd_momentum import GradientDescentMomentum
from iclgd.models.gd_plus_plus import GradientDescentPlusPlus
from iclgd.models.learners import GradientDescent


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.name)
@pytest.mark.parametrize("seed", [0, 1])
def test_identities_hold(identity: Identity, seed: int) -> None:
    assert largest_error(identity, seed) <= TOLERANCE / 1000


@pytest.mark.parametrize(
    "identity",
    [i for i in IDENTITIES if i.name not in ("read_out", "gd_plus_plus", "momentum")],
    ids=lambda identity: identity.name,
)
def test_a_wrong_gradient_step_is_noticed(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    right = GradientDescent.weight
    monkeypatch.setattr(GradientDescent, "weight", lambda self, x, y: right(self, x, y) * (1 + 1e-8))
    assert largest_error(identity) > TOLERANCE


@pytest.mark.parametrize(
    ("name", "learner"), [("gd_plus_plus", GradientDescentPlusPlus), ("momentum", GradientDescentMomentum)]
)
def test_a_wrong_step_of_other_learners_is_noticed(name: str, learner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = learner.__call__
    monkeypatch.setattr(learner, "__call__", lambda self, *problem: right(self, *problem) * (1 + 1e-8))
    (identity,) = (identity for identity in IDENTITIES if identity.name == name)
    assert largest_error(identity) > TOLERANCE


def test_errors_that_are_not_numbers_are_errors(
    cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Identity("broken", "nan = 0", lambda batch, rate, start: float("nan"))
    monkeypatch.setattr("iclgd.analysis.identities.IDENTITIES", (broken,))
    assert torch.isnan(torch.tensor(largest_error(broken)))
    code, out, _ = cli("verify")
    assert code == 1
    assert "nan" in out


def test_verify_prints_a_table(cli: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = cli("verify", "--seed", "3")
    assert code == 0
    assert all(identity.name in out for identity in IDENTITIES)

from collections.abc import Callable
from typing import Any

import pytest
import torch

from iclgd.analysis.identities import IDENTITIES, TOLERANCE, Identity, largest_error
from iclgd.models.gd_momentum import GradientDescentMomentum
from iclgd.models.gd_plus_plus import GradientDescentPlusPlus
from iclgd.models.learners import GradientDescent, Ridge
from iclgd.models.sequences.construction import gradient_descent_layer

OF_THE_PAST = ("mesa", "mesa_construction", "dmmse")  # which know no regression problem's gradient step


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.name)
@pytest.mark.parametrize("seed", [0, 1])
def test_identities_hold(identity: Identity, seed: int) -> None:
    assert largest_error(identity, seed) <= TOLERANCE / 1000


@pytest.mark.parametrize(
    "identity",
    [i for i in IDENTITIES if i.name not in ("read_out", "gd_plus_plus", "momentum", *OF_THE_PAST)],
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


@pytest.mark.parametrize("name", OF_THE_PAST)
def test_what_learns_from_the_past_is_noticed_if_it_is_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right, layer = Ridge.__call__, gradient_descent_layer
    monkeypatch.setattr(Ridge, "__call__", lambda self, x, y, query: right(self, x, y, query) * (1 + 1e-8))
    monkeypatch.setattr(
        "iclgd.analysis.identities.gradient_descent_layer", lambda rate, initial: layer(rate * (1 + 1e-8), initial)
    )
    (identity,) = (each for each in IDENTITIES if each.name == name)
    assert largest_error(identity) > TOLERANCE

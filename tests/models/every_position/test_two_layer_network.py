"""Networks trained for all prompts and positions at once, beside the published ones and a plain loop."""

import pytest
import torch
from torch import nn

from iclgd.models.every_position.two_layer_network import (
    NetworkWeights,
    TwoLayerNetwork,
    choose_examples,
    draw_weights,
    train,
)
from tests.fixtures import assert_close
from tests.function_references import arrays


@pytest.mark.parametrize("name", ["adam_full", "adam_minibatch", "sgd_minibatch"])
def test_trained_networks_predict_as_published(name: str) -> None:
    stored = arrays(f"C4_gd_{name}")
    x, y, positions = stored["xs"], stored["ys"], stored["inds"].long()
    start = NetworkWeights(
        stored["init_W1"], stored["init_b1"], stored["init_W2"].squeeze(2), stored["init_b2"].squeeze(2)
    )
    trained = train(x, y, start, stored["mask"] > 0, stored["lr"].item(), name.split("_")[0])
    predictions = trained(x[:, positions].transpose(0, 1)[:, :, None]).squeeze(-1).T
    assert_close(predictions.masked_fill(positions == 0, 0.0), stored["predictions"], 1e-4)
    assert not stored["predictions"][:, positions == 0].any()
    used = (stored["mask"] > 0).sum(-1)
    assert torch.equal(used, positions.clamp(max=int(stored["batch_size"]))[:, None].expand_as(used))


def test_every_step_takes_a_random_part_of_the_past() -> None:
    positions = torch.tensor([0, 2, 7])
    chosen = choose_examples(positions, 8, num_steps=300, batch_size=3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(chosen.sum(-1), torch.tensor([0, 2, 3])[:, None].expand(3, 300))
    assert not chosen[0].any()
    assert chosen[1, :, :2].all()
    torch.testing.assert_close(chosen[2, :, :7].double().mean(0), torch.full((7,), 3 / 7).double(), rtol=0, atol=0.1)
    assert not chosen[2, :, 7:].any()


def test_the_start_is_that_of_linear_layers() -> None:
    drawn = draw_weights(2, 3, 5, 40, torch.Generator().manual_seed(0))
    for ours, layer in zip((drawn[:2], drawn[2:]), (nn.Linear(5, 40), nn.Linear(40, 1)), strict=True):
        bound = layer.in_features**-0.5
        for mine, theirs in zip(ours, layer.parameters(), strict=True):
            assert mine.abs().max() <= bound
            assert theirs.abs().max() <= bound
        assert ours[0].std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_positions_are_trained_by_themselves_and_the_call_is_the_last_one() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 9, 4, generator=generator)
    y = torch.randn(3, 9, generator=generator)
    learner = TwoLayerNetwork(hidden_size=8, num_steps=5, batch_size=4)
    single = learner.at_every_position(x, y, positions=[5])
    later = y.clone()
    later[:, 5:] = 1e3
    assert torch.equal(learner.at_every_position(x, later, positions=[5]), single)
    prediction = learner(x[:, :5], y[:, :5, None], x[:, 5])
    assert prediction.shape == (3, 1)
    assert prediction.isfinite().all()
    everywhere = learner.at_every_position(x, y)
    assert not everywhere[:, 0].any()
    assert everywhere[:, 1:].all()
    assert torch.equal(everywhere, learner.at_every_position(x, y))
    assert not torch.equal(everywhere, TwoLayerNetwork(8, 5, batch_size=4, seed=1).at_every_position(x, y))


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"two_layer_network.optimizer must be one of: adam, sgd; got 'adm'; did you"):
        TwoLayerNetwork(optimizer="adm")
    with pytest.raises(ValueError, match=r"two_layer_network.hidden_size must be at least 1, got 0"):
        TwoLayerNetwork(hidden_size=0)

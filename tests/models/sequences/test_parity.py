"""Solvers, attention and whole models beside the published implementation's."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from iclgd.data.sequences.nonlinear_system import features
from iclgd.models.sequences import SequenceTransformer, SequenceTransformerConfig, gradient_step, mesa_attention
from iclgd.models.sequences.attention import SequenceAttention
from iclgd.models.sequences.construction import gradient_descent_layer, gradient_descent_tokens
from iclgd.models.sequences.inverses import neumann, newton_inverse, polynomial
from iclgd.models.sequences.mesa_recursive import recursive_mesa_attention
from iclgd.models.sequences.solvers import (
    Solve,
    least_squares,
    next_by_least_squares,
    sequence_losses,
)
from iclgd.models.sequences.tokens import shifted
from iclgd.models.sequences.transformer import SequenceLayer
from iclgd.models.tokens import positional_encoding
from tests.sequence_references import arrays, deviation

Mesa = Callable[..., Tensor]


@pytest.fixture(scope="module")
def solved() -> dict[str, Tensor]:
    return arrays("E3_sequence_solvers")


def test_least_squares(solved: dict[str, Tensor]) -> None:
    sequence, targets = solved["sequence"], solved["targets"]
    assert torch.equal(shifted(sequence), solved["previous"])
    loose = next_by_least_squares(sequence, 0.3, with_newest=False)
    assert deviation(loose, solved["least_squares_lambda_0.3"]) < 3e-5
    tight = next_by_least_squares(sequence, 0.001, with_newest=False)
    assert deviation(tight, solved["least_squares_lambda_0.001"]) < 2e-3
    assert deviation(tight, solved["constructed_least_squares"]) < 2e-3
    losses = sequence_losses(tight, targets)
    assert losses.mean().item() == pytest.approx(solved["loss_least_squares"].item(), rel=1e-4)
    assert deviation(losses.mean(0), solved["per_position_loss_least_squares"]) < 1e-4


def test_least_squares_of_systems_seen_in_part(solved: dict[str, Tensor]) -> None:
    sequence = solved["partial_sequence"]
    num_lags = int(solved["partial_embed_dim"]) // sequence.shape[-1]
    predicted = next_by_least_squares(sequence, 0.05, num_lags=num_lags, with_newest=False)
    assert deviation(predicted, solved["partial_least_squares"]) < 3e-5


def test_least_squares_on_features(solved: dict[str, Tensor]) -> None:
    sequence, network = solved["nonlinear_sequence"], (solved["A"], solved["Bmat"])
    directions = F.normalize(sequence, dim=-1)
    inputs, query = shifted(features(sequence, *network)), features(directions, *network)
    predicted = least_squares(inputs, directions, query, 0.01, with_newest=False)
    assert deviation(predicted, solved["nonlinear_least_squares"]) < 3e-5


def test_gradient_descent(solved: dict[str, Tensor]) -> None:
    predicted = gradient_step(solved["sequence"], 0.1)
    assert deviation(predicted, solved["gd_eta_0.1"]) < 3e-5
    assert deviation(1.5 * predicted, solved["gd_eta_0.1_lamb_0.5"]) < 3e-5
    loss = sequence_losses(predicted, solved["targets"]).mean().item()
    assert loss == pytest.approx(solved["loss_gd"].item(), rel=2e-5)


def _series(solved: dict[str, Tensor], with_momentum: bool) -> Solve:
    betas = solved["betas"] * with_momentum

    def solve(matrix: Tensor, right: Tensor) -> Tensor:
        norm = torch.linalg.matrix_norm(matrix)[..., None]
        return polynomial(_apply(matrix), right, norm, solved["alphas"], betas)

    return solve


def _apply(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda states: (matrix @ states[..., None]).squeeze(-1)


def test_approximate_inverses(solved: dict[str, Tensor]) -> None:
    solvers: dict[str, Solve] = {
        "neumann_6_norm_70": lambda matrix, right: neumann(_apply(matrix), right, 70.0, 6),
        "neumann_3_norm_9": lambda matrix, right: neumann(_apply(matrix), right, 9.0, 3),
        "newton_4": lambda matrix, right: _apply(newton_inverse(matrix, 4))(right),
        "chebyshev_4": _series(solved, with_momentum=True),
        "richardson_4": _series(solved, with_momentum=False),
    }
    sequence, regularization = solved["sequence"], solved["approximation_lambda"].item()
    for name, solve in solvers.items():
        predicted = least_squares(shifted(sequence), sequence, sequence, regularization, with_newest=False, solve=solve)
        assert deviation(predicted, solved[name]) < 3e-5, name


@pytest.mark.parametrize("attend", [mesa_attention, recursive_mesa_attention])
def test_the_mesa_layer_and_its_gradients(attend: Mesa) -> None:
    given = arrays("E4_mesa_layer")
    for strength in ("0.2", "1.0", "5.0"):
        inputs = [given[name][:, None].requires_grad_() for name in ("queries", "keys", "values")]
        inputs.append(torch.tensor([float(strength)], dtype=torch.float64, requires_grad=True))
        output = attend(*inputs)
        assert deviation(output[:, 0].detach(), given[f"lambda_{strength}.output"]) < 5e-5
        gradients = torch.autograd.grad((output[:, 0] * given["upstream"]).sum(), inputs)
        for name, gradient in zip(("queries", "keys", "values", "lambda"), gradients, strict=True):
            published = given[f"lambda_{strength}.grad_{name}"]
            assert deviation(gradient.view_as(published), published) < 2e-4, name
            by_rule = given[f"lambda_{strength}.grad_{name}_memory_efficient"]
            assert deviation(gradient.view_as(by_rule), by_rule) < 1e-2, name


def test_normalised_rows() -> None:
    given = arrays("E4_mesa_layer")
    queries, keys, values = (given[name][:, None] for name in ("queries", "keys", "values"))
    for strength in ("0.2", "1.0", "5.0"):
        lambdas = torch.tensor([float(strength)], dtype=torch.float64)
        output = recursive_mesa_attention(queries, keys, values, lambdas, normalize_rows=True)
        assert deviation(output[:, 0], given[f"lambda_{strength}.output_row_normalised"]) < 5e-5


def _load_attention(layer: SequenceAttention, given: dict[str, Tensor], prefix: str) -> None:
    """Set a layer's weights to published ones, whose mesa layer has other names and another order of channels."""
    weights = {name: given[f"{prefix}{name}_proj.kernel"].T for name in ("q", "k", "v", "o")}
    if layer.log_strength is not None:
        weights["k"], weights["v"] = weights["v"], weights["k"]
        width = weights["o"].shape[0]
        weights["o"] = weights["o"].reshape(width, -1, layer.num_heads).mT.reshape(width, -1)
        layer.log_strength.data = given[f"{prefix}lambdas"].log()
    for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "o")):
        getattr(layer, ours).weight.data = weights[theirs].clone()


@pytest.mark.parametrize(
    ("name", "kind", "normalize"),
    [
        ("E4_attention_linear", "linear", "none"),
        ("E4_attention_softmax", "softmax", "none"),
        ("E4_mesa_heads", "mesa", "none"),
        ("E4_mesa_heads_normalised_heads", "mesa", "values"),
    ],
)
def test_attention_layers(name: str, kind: str, normalize: str) -> None:
    given = arrays(name)
    width, heads = given["x"].shape[-1], int(given["heads"])
    layer = SequenceAttention(width, heads, kind, int(given["key_size"]), normalize=normalize)
    _load_attention(layer, given, "p.")
    assert deviation(layer(given["x"]).detach(), given["output"]) < 5e-5


def test_the_construction_of_gradient_descent() -> None:
    given = arrays("E5_gd_construction")
    initial, eta = given["initial_map"], given["eta"].item()
    layer = gradient_descent_layer(eta, initial)
    tokens = gradient_descent_tokens(given["sequence"], initial)
    assert deviation(tokens, given["tokens"]) < 2e-5
    assert deviation((layer.output.weight @ layer.value.weight).detach(), given["value_projection"]) < 2e-5
    assert deviation((layer.key.weight.T @ layer.query.weight).detach(), given["key_query_product"]) < 2e-5
    updated = tokens + layer(tokens).detach()
    assert deviation(updated, given["updated_tokens"]) < 2e-5
    size = len(initial)
    assert deviation(updated[..., :size], gradient_step(given["sequence"], eta, initial)) < 1e-12


def test_positions() -> None:
    encoding = arrays("E6_positions")["encoding"]
    assert deviation(positional_encoding(*encoding.shape), encoding) < 3e-6


@pytest.mark.parametrize("attention", ["mesa", "softmax"])
def test_hybrid_models(attention: str) -> None:
    given = arrays("E6_model_hybrid_mesa" if attention == "mesa" else "E6_model_softmax")
    config = SequenceTransformerConfig(
        tokens="observations",
        num_layers=2,
        num_heads=int(given["heads"]),
        attention=attention,
        first_attention="softmax",
        key_size=int(given["key_size"]),
        in_projection=8,
        positional_encoding="add",
        mlp_width=16,
        layer_norm=True,
    )
    model = SequenceTransformer(config, observed_size=5).double()
    assert model.in_projection is not None
    assert model.out_projection is not None
    model.in_projection.weight.data = given["p.input_layer.kernel"].T
    model.out_projection.weight.data = given["p.output_layer.kernel"].T
    for layer, prefix in zip(model.layers, ("p.hybrid_block.", "p.tf_block.blocklist_0."), strict=True):
        assert isinstance(layer, SequenceLayer)
        _load_attention(layer.attention, given, f"{prefix}self_attn.")
        assert layer.mlp is not None
        assert layer.mlp_norm is not None
        for norm, place in ((layer.norm, "norm1"), (layer.mlp_norm, "norm2")):
            norm.load_state_dict(
                {ours: given[f"{prefix}{place}.{key}"] for ours, key in (("weight", "scale"), ("bias", "bias"))}
            )
        layer.mlp.load_state_dict({f"{i}.weight": given[f"{prefix}linear_{i}.kernel"].T for i in (0, 2)})
    output = model(given["inputs"]).detach()
    assert deviation(output, given["output"]) < 3e-6
    loss = sequence_losses(output, given["targets"]).mean().item()
    assert loss == pytest.approx(given["loss"].item(), rel=3e-6)


def test_linear_layers_with_clipping() -> None:
    given = arrays("E6_model_linear_clipped")
    config = SequenceTransformerConfig(
        tokens="constructed",
        num_layers=2,
        num_heads=int(given["heads"]),
        attention="linear",
        key_size=int(given["key_size"]),
        clip=1.0,
    )
    model = SequenceTransformer(config, observed_size=5).double()
    for index, layer in enumerate(model.layers):
        assert isinstance(layer, SequenceLayer)
        _load_attention(layer.attention, given, f"p.tf_block.blocklist_{index}.self_attn.")
    observations = given["inputs"][..., 5:10]
    assert torch.equal(model.tokens(observations), given["inputs"])
    output = model.hidden_states(observations)[-1].detach()
    assert deviation(output, given["output"]) < 5e-4
    loss = sequence_losses(model(observations), given["targets"]).mean().item()
    assert loss == pytest.approx(given["loss"].item(), rel=5e-4)

"""Deeper and other architectures against the published implementation's numbers."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from iclgd.analysis.copying import first_layer_gradients
from iclgd.analysis.sensitivity import predict_with_sensitivity
from iclgd.data import LinearRegressionTask
from iclgd.metrics import functional
from iclgd.models.attention import SelfAttention
from iclgd.models.tokens import positional_encoding
from iclgd.models.transformer import Transformer, TransformerConfig
from tests.fixtures import assert_close, layer_weights, load_reference, problem


def load_layers(model: Transformer, arrays: dict[str, Tensor], prefixes: list[str]) -> Transformer:
    for layer, prefix in zip(model.sequence(len(prefixes)), prefixes, strict=True):
        layer.attention.load_state_dict(layer_weights(arrays, prefix))
    return model


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("A4_L2_nonrec", TransformerConfig(2)),
        ("A4_L2_nonrec_softmax2h", TransformerConfig(2, num_heads=2, attention="softmax")),
        ("A4_L3_rec_noclip", TransformerConfig(3, recurrent=True)),
        ("A4_L5_rec_clip10", TransformerConfig(5, recurrent=True, clip=10.0)),
        ("A4_softmax2h", TransformerConfig(1, num_heads=2, recurrent=True, attention="softmax")),
    ],
)
def test_deep_models_equal_published(name: str, config: TransformerConfig) -> None:
    arrays = load_reference(name)
    tolerance = 1e-4 if config.clip else 1e-5
    prefixes = ["w_"] if config.recurrent else [f"w_l{index}_" for index in range(config.num_layers)]
    model = load_layers(Transformer(config, 10), arrays, prefixes)
    x, y, query = problem(arrays["tokens"])
    states = model.hidden_states(x, y, query)
    predictions = model.layer_predictions(x, y, query)[1:, :, 0]
    losses = 0.5 * (arrays["target"] - predictions).square().mean(1)
    assert_close(states[-1].permute(2, 0, 1), arrays["hidden"], tolerance)
    assert_close(predictions, arrays["stack"], tolerance)
    assert_close(losses, arrays["stack_loss"], tolerance)
    assert_close(model(x, y, query)[:, 0], arrays["prediction"], tolerance)
    for depth in range(1, config.num_layers + 1):
        assert_close(model(x, y, query, num_layers=depth)[:, 0], arrays["stack"][depth - 1], tolerance)
    for layer, state, expected in zip(model.sequence(), states, arrays["attn_first4"], strict=False):
        weights = layer.attention.attention_weights(state[:-1], state)[..., :4]  # (H, T, N, 4)
        assert_close(weights.permute(3, 0, 1, 2), expected, tolerance)


SEPARATE = TransformerConfig(2, tokens="separate", positional_encoding="concatenate", positional_channels=10)


@pytest.mark.parametrize(
    ("name", "config"),
    [("A6_classic_L2_linear", SEPARATE), ("A6_classic_L2_sm1", replace(SEPARATE, first_attention="softmax"))],
)
def test_separate_tokens_equal_published(name: str, config: TransformerConfig) -> None:
    arrays = load_reference(name)
    model = load_layers(Transformer(config, 10), arrays, ["w_l0_", "w_l1_"])
    tokens = arrays["tokens"]
    x, y, query = tokens[:, 0:-1:2], tokens[:, 1::2, -1:], tokens[:, -1]
    assert torch.equal(model.tokens(x, y, query).permute(2, 0, 1), tokens)
    _, first, last = model.hidden_states(x, y, query)
    assert_close(first[:-1].permute(2, 0, 1), arrays["hidden_layer1"])
    assert_close(last.permute(2, 0, 1), arrays["hidden"])
    prediction = model(x, y, query)[:, 0]
    assert_close(prediction, arrays["prediction"])
    assert_close(0.5 * (arrays["target"] - prediction).square().mean(), arrays["loss"])
    for state, layer, expected in zip(
        model.hidden_states(x, y, query),
        model.sequence(),
        (arrays["attn_l0_first4"], arrays["attn_l1_first4"]),
        strict=False,
    ):
        assert_close(layer.attention.attention_weights(state[:-1], state)[..., :4].permute(3, 0, 1, 2), expected)
    norms = functional.copying_norms(first_layer_gradients(model, x, y, query) / len(x))
    for ours, theirs in (("own", "own"), ("next", "own_plus_1"), ("other", "other")):
        assert_close(norms[ours], arrays[f"copy_{theirs}"])


@pytest.mark.parametrize(("num_tokens", "num_channels"), [(21, 10), (21, 20), (51, 8)])
def test_positional_encoding_equals_published(num_tokens: int, num_channels: int) -> None:
    expected = load_reference("A6_pos_encodings")[f"pe_{num_tokens}x{num_channels}"]
    assert_close(positional_encoding(num_tokens, num_channels).to(expected), expected)


def embedded(arrays: dict[str, Tensor], attention: str) -> Transformer:
    """The sine model: published embedding and perceptron, with these attention weights."""
    config = TransformerConfig(1, in_projection=40, input_mlp=True)
    model = Transformer(config, 1)
    load_layers(model, arrays, [attention])
    assert model.in_projection is not None
    assert model.input_mlp is not None
    model.in_projection.load_state_dict({"weight": arrays["w_emb"]})
    model.input_mlp.load_state_dict(
        {
            "hidden.weight": arrays["w_mlp1_w"],
            "hidden.bias": arrays["w_mlp1_b"],
            "output.weight": arrays["w_mlp2_w"],
            "output.bias": arrays["w_mlp2_b"],
        }
    )
    return model


def test_sine_model_equals_published() -> None:
    arrays = load_reference("A7_sine_mlp")
    x, y, query = problem(arrays["tokens"])
    model, construction = embedded(arrays, "w_"), embedded(arrays, "gd_")
    assert_close(model.hidden_states(x, y, query)[-1][..., :4].permute(2, 0, 1), arrays["hidden_first4"])
    for each, prefix, loss in ((model, "", "loss"), (construction, "gd_", "gd_loss")):
        assert_close(each.layer_predictions(x, y, query)[..., 0], arrays[f"{prefix}stack"])
        prediction = each(x, y, query)[:, 0]
        assert_close(prediction, arrays[f"{prefix}prediction"])
        assert_close(0.5 * (arrays["target"] - prediction).square().mean(), arrays[loss])
    outputs, sensitivities = zip(
        *(predict_with_sensitivity(each, x, y, query) for each in (model, construction)), strict=True
    )
    for measure, values, name in (
        (functional.sensitivity_cosine, sensitivities, "cos"),
        (functional.sensitivity_l2, sensitivities, "model_diff"),
        (functional.prediction_l2, outputs, "pred_diff"),
    ):
        total, count = measure(*values)
        assert_close(total / count, arrays[name])


def test_one_layer_applied_many_times_equals_published() -> None:
    arrays = load_reference("A10_iterated")
    x, y, query = problem(arrays["tokens"])
    dampened = TransformerConfig(50, recurrent=True, update_targets_only=True, dampening=arrays["dampening"].item())
    for config, prefix in ((dampened, "tf"), (replace(dampened, dampening=1.0), "gd")):
        model = load_layers(Transformer(config, 10), arrays, [f"{prefix}_"])
        predictions = model.layer_predictions(x, y, query)[1:, :, 0]
        assert_close(0.5 * (arrays["target"] - predictions).square().mean(1), arrays[f"{prefix}_loss_per_layer"])


def random_problem(num_outputs: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((6, 5, 4), (6, 5, num_outputs), (6, 4))
    x, y, query = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return x, y, query


EVERYTHING = TransformerConfig(
    3, 2, attention="softmax", bias=True, layer_norm=True, mlp=True, key_size=3, init_scale=3.0
)


@pytest.mark.parametrize(
    "config",
    [
        EVERYTHING,
        replace(EVERYTHING, attention="mixture", recurrent=True, out_projection=True, in_projection=8, input_mlp=True),
        replace(EVERYTHING, mlp=False, clip=1.5, dampening=0.5),
        replace(EVERYTHING, attention="linear", mlp=False, layer_norm=False),
        replace(EVERYTHING, tokens="separate", positional_encoding="add", update_targets_only=True),
    ],
)
def test_the_fast_prediction_is_that_of_all_tokens(config: TransformerConfig) -> None:
    model = Transformer(config, 4, 1).double().initialize(torch.Generator().manual_seed(0))
    with torch.no_grad():  # biases start at zero, where they cannot be seen
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)), alpha=0.1)
    predictions = model.layer_predictions(*random_problem())
    assert_close(model(*random_problem()), predictions[-1], 1e-12)
    assert torch.equal(model(*random_problem(), num_layers=0), predictions[0])
    for depth in range(1, 4):
        assert_close(model(*random_problem(), num_layers=depth), predictions[depth], 1e-12)


def test_attention_equals_torchs_own() -> None:
    generator = torch.Generator().manual_seed(0)
    model = Transformer(TransformerConfig(1, 2, attention="softmax", bias=True, init_scale=2.0), 5, 1).double()
    model.initialize(generator)
    attention = model.sequence()[0].attention
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    context = torch.randn(7, 6, 3, generator=generator, dtype=torch.float64)
    queries = torch.randn(4, 6, 3, generator=generator, dtype=torch.float64)

    def heads(name: str, tokens: Tensor) -> Tensor:
        weight, bias = attention.get_parameter(name), attention.get_parameter(f"{name}_bias")
        return torch.einsum("tcb,hck->bhtk", tokens, weight) + bias[:, None]

    mixed = torch.nn.functional.scaled_dot_product_attention(
        heads("query", queries), heads("key", context), heads("value", context)
    )
    expected = torch.einsum("bhtk,hkc->tcb", mixed, attention.linear) + attention.linear_bias[:, None]
    assert_close(attention(context, queries), expected, 1e-12)


def test_layer_norm_and_gelu_are_torchs() -> None:
    config = TransformerConfig(1, layer_norm=True, mlp=True, recurrent=True)
    layer = Transformer(config, 5, 1).initialize(torch.Generator().manual_seed(0)).sequence()[0]
    assert layer.norm is not None
    assert layer.perceptron is not None
    tokens = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.layer_norm(tokens.mT, (6,)).mT
    assert_close(layer.norm(tokens), expected)
    hidden = torch.nn.functional.gelu(tokens.mT @ layer.perceptron.hidden.weight, approximate="tanh")
    assert_close(layer.perceptron(tokens), (hidden @ layer.perceptron.output.weight).mT)


def test_a_mixture_lies_between_its_parts() -> None:
    config = TransformerConfig(1, attention="mixture", init_scale=1.0)
    mixture = Transformer(config, 4, 1).double().initialize(torch.Generator().manual_seed(0))
    attention = mixture.sequence()[0].attention
    softmax, linear = (Transformer(replace(config, attention=kind), 4, 1).double() for kind in ("softmax", "linear"))
    weights = {name: value for name, value in attention.state_dict().items() if name != "softmax_share"}
    for model in (softmax, linear):
        model.sequence()[0].attention.load_state_dict(weights)
    share = 1 / (1 + math.exp(-10 * attention.softmax_share.item()))
    assert 0 < share < 1
    expected = share * softmax(*random_problem()) + (1 - share) * linear(*random_problem())
    assert_close(mixture(*random_problem()), expected, 1e-12)


def test_separate_weights_have_no_norm_before_the_first_attention() -> None:
    model = Transformer(TransformerConfig(2, layer_norm=True), 4)
    assert [layer.norm is None for layer in model.sequence()] == [True, False]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clip": 10.0}, "model.clip acts between layers"),
        ({"num_layers": 2, "recurrent": True, "first_attention": "softmax"}, "needs model.recurrent=false"),
        ({"first_attention": "softmax"}, "more than one model.num_layers"),
        ({"positional_encoding": "add"}, "must be none with model.tokens=joint"),
        ({"tokens": "separate", "positional_encoding": "concatenate"}, "model.positional_channels must be positive"),
        ({"tokens": "separate", "positional_channels": 4}, "else 0"),
        ({"tokens": "separate", "positional_encoding": "concatenate", "positional_channels": 3}, "must be even, got 3"),
        ({"dampening": 0.0}, "model.dampening must be positive"),
        ({"clip": -1.0}, "model.clip must be at least 0"),
        ({"key_size": 0}, "model.key_size must be at least 1"),
        ({"tokens": "words"}, "model.tokens must be one of: joint, separate; got 'words'"),
    ],
)
def test_combinations_without_meaning_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**values)  # type: ignore[arg-type]


def test_tokens_must_hold_outputs_and_places() -> None:
    separate = TransformerConfig(tokens="separate")
    with pytest.raises(ValueError, match=r"task.output_dim must be at most task.input_dim \(2\)"):
        Transformer(separate, 2, 3)
    with pytest.raises(ValueError, match="needs tokens of an even width, got 3"):
        Transformer(replace(separate, positional_encoding="add"), 3, 1)


@pytest.mark.parametrize("bias", [False, True])
def test_linear_attention_may_sum_over_a_long_context_first(bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    attention = SelfAttention(3, num_heads=2, bias=bias).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    context, queries = (torch.randn(n, 3, 5, generator=generator, dtype=torch.float64) for n in (40, 2))
    scores = attention.attention_weights(context, queries)  # (H, T, N, B)
    ones = torch.nn.functional.pad(context, (0, 0, 0, 1), value=1.0) if bias else context
    expected = torch.einsum("htnb,ncb,hcd->tdb", scores, ones, attention.ov_matrix())
    expected = expected + attention.linear_bias[:, None] if bias else expected
    assert_close(attention(context, queries), expected, 1e-12)


def saved_numbers(model: Transformer, num_context: int) -> int:
    """Count the numbers that the backward pass needs, each tensor once."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    generator = torch.Generator().manual_seed(0)
    batch = LinearRegressionTask(num_context=num_context, input_dim=model.input_dim).sample(64, generator)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(batch.x, batch.y, batch.query)
    return sum(sizes.values())


@pytest.mark.parametrize("num_layers", [1, 3])
def test_gradient_memory_grows_with_the_context_and_not_with_its_square(num_layers: int) -> None:
    model = Transformer(TransformerConfig(num_layers), 5).initialize(torch.Generator().manual_seed(0))
    small, medium, large = (saved_numbers(model, number) for number in (50, 100, 200))
    assert large - medium == pytest.approx(2 * (medium - small), rel=0.01)


def test_the_last_layer_keeps_nothing_of_what_the_query_cannot_see() -> None:
    one, two, three = (
        saved_numbers(Transformer(TransformerConfig(depth), 5).initialize(torch.Generator().manual_seed(0)), 10)
        for depth in (1, 2, 3)
    )
    assert one < 0.5 * (three - two)  # the read-out beside a layer that updates all tokens

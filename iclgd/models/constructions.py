"""Weights written down by hand: attention layers that are steps of gradient descent, and mixtures with trained ones."""

from dataclasses import replace

import torch
from torch import Tensor

from iclgd.models.attention import SelfAttention
from iclgd.models.transformer import Transformer, TransformerConfig


def gradient_descent_transformer(
    input_dim: int,
    output_dim: int = 1,
    learning_rate: float = 1.0,
    num_layers: int = 1,
    initial_weight: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Transformer:
    r"""Build the transformer whose every layer is one step of gradient descent; [vO] proposition 1 and appendix A.1.

    The loss is :math:`\frac12 \sum_i |W x_i - y_i|^2`, a sum over the context points: the learning rate is the one that
    [vO] quotes, and its code's ``lr`` is N times as large. The construction holds for any N.

    Args:
        input_dim: D.
        output_dim: O.
        learning_rate: of each step.
        num_layers: number of steps; the layers share their weights.
        initial_weight: W0, (O, D); zero if ``None``.
        dtype: of the weights.

    Example:
        >>> model = gradient_descent_transformer(input_dim=2, learning_rate=0.5)
        >>> x, y = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[4.0]]])
        >>> model(x, y, torch.tensor([[3.0, 5.0]])).item()  # W = 0.5 * 4 * (1, 0)
        6.0
    """
    config = TransformerConfig(num_layers=num_layers, recurrent=True)
    model = Transformer(config, input_dim, output_dim, initial_weight).to(dtype)
    (layer,) = model.layers
    assert isinstance(layer, SelfAttention)
    with torch.no_grad():
        inputs, outputs = slice(0, input_dim), slice(input_dim, None)
        layer.query[0, inputs, inputs] = layer.key[0, inputs, inputs] = torch.eye(input_dim, dtype=dtype)
        layer.value[0, outputs, outputs] = -torch.eye(output_dim, dtype=dtype)
        layer.linear[0, outputs, outputs] = learning_rate * torch.eye(output_dim, dtype=dtype)
        if initial_weight is not None:
            layer.value[0, inputs, outputs] = initial_weight.T.to(dtype)
    return model.requires_grad_(False)


def interpolate(trained: Transformer, construction: Transformer) -> Transformer:
    """Return the mean of trained and constructed weights, [vO] section 3 ("linearly interpolate").

    Scale can move freely between a layer's two weight products, so the trained layer's ``W_Q W_K^T`` is first
    divided, and its ``W_V W_P`` multiplied, by the mean of the former's diagonal over the inputs.

    Raises:
        ValueError: if the models have several heads or differ in shape: their products then have no common scale.
    """
    if trained.config.num_heads != 1 or trained.config.num_layers != construction.config.num_layers:
        raise ValueError("interpolation needs single-head models of equal depth")
    dim = trained.input_dim
    config = replace(trained.config, recurrent=trained.config.recurrent and construction.config.recurrent)
    mixture = Transformer(config, dim, trained.output_dim, construction.initial_weight)
    mixture.to(trained.layers[0].query.dtype).to(trained.layers[0].query.device)  # type: ignore[arg-type]
    with torch.no_grad():
        for mixed, layer, reference in zip(
            mixture.sequence(), trained.sequence(), construction.sequence(), strict=True
        ):
            query_key = layer.query_key()[0].T  # as it is stored: (query's token, key's token)
            scale = query_key.diagonal()[:dim].mean()
            mixed.query[0] = (query_key / scale + reference.query_key()[0].T) / 2
            mixed.key[0] = mixed.value[0] = torch.eye(len(query_key))
            mixed.linear[0] = (scale * layer.value_linear()[0] + reference.value_linear()[0]) / 2
    return mixture.requires_grad_(False)

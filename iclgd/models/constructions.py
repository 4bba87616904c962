"""Weights written down by hand: attention layers that are steps of gradient descent, and mixtures with trained ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from iclgd.models.transformer import Transformer, TransformerConfig

BY_HAND = ("gd_momentum", "gd_plus_plus", "gd")  # constructions by name: of these the first that a run has


def gradient_descent_transformer(
    input_dim: int,
    output_dim: int = 1,
    learning_rate: float = 1.0,
    num_layers: int = 1,
    initial_weight: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    clip: float = 0.0,
    momentum: float | None = None,
) -> Transformer:
    r"""Build the transformer whose every layer is one step of gradient descent; [vO] proposition 1 and appendix A.1.

    The loss is :math:`\frac12 \sum_i |W x_i - y_i|^2`, a sum over the context points: the learning rate is the one that
    [vO] quotes, and its code's ``lr`` is N times as large. The construction holds for any N.

    With momentum it is the heavy ball, :class:`~iclgd.models.GradientDescentMomentum`. After k layers the last channels
    of a token with input x have changed by :math:`-(W_k - W_0) x`; attention adds :math:`\eta \nabla(W_k) x` to them.
    Momentum adds :math:`\beta` times their last change, :math:`-M_k x` with :math:`M_k = W_k - W_{k-1}`; so the next is
    :math:`-(\beta M_k - \eta \nabla(W_k)) x = -M_{k+1} x`, the heavy ball's step.

    Args:
        input_dim: D.
        output_dim: O.
        learning_rate: of each step.
        num_layers: number of steps; the layers share their weights.
        initial_weight: W0, (O, D); zero if ``None``.
        dtype: of the weights.
        clip: bound of all activations after each layer, see :class:`TransformerConfig`.
        momentum: beta of each step but the first, kept among the weights; ``None`` for layers without.

    Example:
        >>> model = gradient_descent_transformer(input_dim=2, learning_rate=0.5)
        >>> x, y = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[4.0]]])
        >>> model(x, y, torch.tensor([[3.0, 5.0]])).item()  # W = 0.5 * 4 * (1, 0)
        6.0
    """
    model = gd_plus_plus_transformer(input_dim, [learning_rate], [0.0], output_dim, num_layers, dtype, clip, momentum)
    if initial_weight is not None:
        model.initial_weight = initial_weight.to(dtype)
        (layer,) = model.sequence(1)
        layer.attention.value[0, :input_dim, input_dim:] = initial_weight.T.to(dtype)
    return model


def gd_plus_plus_transformer(
    input_dim: int,
    learning_rates: Sequence[float],
    gammas: Sequence[float],
    output_dim: int = 1,
    num_layers: int | None = None,
    dtype: torch.dtype = torch.float32,
    clip: float = 0.0,
    momentum: float | None = None,
) -> Transformer:
    r"""Build the transformer whose every layer is one step of GD++ from zero; [vO] section 3 and appendix A.10.

    Beside the gradient step each layer moves all inputs,
    :math:`x_j \leftarrow x_j - \gamma \sum_i x_i (x_i \cdot x_j)`, which evens out the curvature :math:`X^T X` that the
    next step meets. With :math:`\gamma = 0` it is gradient descent.

    Args:
        input_dim: D.
        learning_rates: eta of each layer, or a single one.
        gammas: gamma of each layer, or a single one.
        output_dim: O.
        num_layers: with single values, how many layers share them.
        dtype: of the weights.
        clip: bound of all activations after each layer, see :class:`TransformerConfig`.
        momentum: beta of each step but the first, kept among the weights; ``None`` for layers without.
    """
    shared = len(learning_rates) == 1
    depth = num_layers or len(learning_rates)
    config = TransformerConfig(depth, recurrent=shared, clip=clip, learn_momentum=momentum is not None)
    model = Transformer(config, input_dim, output_dim).to(dtype)
    inputs, outputs = torch.ones(input_dim, dtype=dtype), torch.ones(output_dim, dtype=dtype)
    model.requires_grad_(False)
    for layer, rate, gamma in zip(model.sequence(len(learning_rates)), learning_rates, gammas, strict=True):
        attention = layer.attention
        attention.query[0] = attention.key[0] = torch.diag(torch.cat([inputs, 0 * outputs]))
        attention.value[0] = torch.diag(torch.cat([inputs if gamma else 0 * inputs, -outputs]))
        attention.linear[0] = torch.diag(torch.cat([-gamma * inputs, rate * outputs]))
        if isinstance(layer.momentum, nn.Parameter) and momentum is not None:
            layer.momentum.fill_(momentum)
    return model


def interpolate(trained: Transformer, construction: Transformer) -> Transformer:
    """Return the mean of trained and constructed weights, [vO] section 3 ("linearly interpolate").

    Scale can move freely between a layer's two weight products, so the trained layer's ``W_Q W_K^T`` is first
    divided, and its ``W_V W_P`` multiplied, by the mean of the former's diagonal over the inputs. Momenta have their
    mean, too.

    Raises:
        ValueError: if the trained model is more than single-head linear attention, or the depths differ: there is no
            common scale then.
    """
    if not trained.config.is_plain or trained.config.num_layers != construction.config.num_layers:
        raise ValueError("interpolation needs plain linear single-head models of equal depth")
    dim = trained.input_dim
    config = replace(
        trained.config,
        recurrent=trained.config.recurrent and construction.config.recurrent,
        learn_momentum=trained.config.has_momentum or construction.config.has_momentum,
    )
    mixture = Transformer(config, dim, trained.output_dim, construction.initial_weight)
    mixture.to(next(trained.parameters()))
    with torch.no_grad():
        for layers in zip(mixture.sequence(), trained.sequence(), construction.sequence(), strict=True):
            mixed, layer, reference = (each.attention for each in layers)
            momentum, *momenta = (each.momentum for each in layers)
            if isinstance(momentum, nn.Parameter):
                momentum.fill_(sum(momenta) / 2)
            query_key = layer.qk_matrix()[0].T  # as it is stored: (query's token, key's token)
            scale = query_key.diagonal()[:dim].mean()
            mixed.query[0] = (query_key / scale + reference.qk_matrix()[0].T) / 2
            mixed.key[0] = mixed.value[0] = torch.eye(len(query_key))
            mixed.linear[0] = (scale * layer.ov_matrix()[0] + reference.ov_matrix()[0]) / 2
    return mixture.requires_grad_(False)


def interpolated(trained: Transformer, references: Mapping[str, nn.Module]) -> Transformer | None:
    """Return the mean of trained weights and those of the learner by hand that is nearest to the architecture.

    That is gradient descent with momentum if there is one, else GD++ where the inputs move, else gradient descent.
    Returns ``None`` where the mean is not defined, see :func:`interpolate`.

    Args:
        trained: a trained transformer.
        references: models by name.
    """
    still = {"gd_plus_plus"} if trained.config.update_targets_only else set()  # whose inputs would have to move
    construction = next((references[name] for name in BY_HAND if name in references and name not in still), None)
    if not isinstance(construction, Transformer) or not trained.config.is_plain:
        return None
    return interpolate(trained, construction)

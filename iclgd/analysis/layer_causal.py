"""Layer-causal gradient descent: no layer learns from what comes after it; Deutch et al. 2024.

In-context learning has no information flow from later layers to earlier ones, while the gradient of the model's loss
has. The layer-causal loss is the sum over layers of the loss that the layer's output has when it is read out directly,
by the model's final normalisation and head; what enters a layer is a constant.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iclgd.analysis.precision import at_least_single
from iclgd.models.language import LanguageModel, LanguageModelError


def make_layer_causal_loss(model: LanguageModel) -> Callable[[Tensor], Tensor]:
    """Return the layer-causal loss as a function of token ids ``(1, T)``; each layer's is a mean over tokens.

    Raises:
        LanguageModelError: if the model does not end in modules that read out a layer's output.
    """
    layers = decoder_layers(model)
    readout = find_readout(model, layers)

    def loss(ids: Tensor) -> Tensor:
        total = torch.zeros((), device=ids.device)
        for hidden in detached_layer_outputs(model, layers, ids):
            logits = _through(readout, hidden[:, :-1])[0]  # the last token has no next one
            of_layer = F.cross_entropy(at_least_single(logits), ids[0, 1:].to(logits.device))
            total = total + of_layer.to(total.device)
        return total

    return loss


def decoder_layers(model: LanguageModel) -> list[nn.Module]:
    """Return the model's layers: the members of the module list that has all attention modules."""
    modules = dict(model.model.named_modules())
    layers = []
    for layer in model.layers:
        parts = layer.name.split(".")
        parents = [".".join(parts[:depth]) for depth in range(1, len(parts))]
        lists = [name for name in parents if isinstance(modules[name], nn.ModuleList)]
        layers.append(modules[".".join(parts[: len(lists[0].split(".")) + 1])])
    return layers


def detached_layer_outputs(model: LanguageModel, layers: list[nn.Module], ids: Tensor) -> list[Tensor]:
    """Run the model so that no gradient leaves a layer through its input; return all layers' outputs ``(1, T, C)``."""
    outputs: list[Tensor] = []

    def detach(module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if inputs:
            return (inputs[0].detach(), *inputs[1:]), kwargs
        return inputs, {**kwargs, "hidden_states": kwargs["hidden_states"].detach()}

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_pre_hook(detach, with_kwargs=True).remove)
            hook = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(_hidden(output)))
            stack.callback(hook.remove)
        model.model(input_ids=ids, use_cache=False, logits_to_keep=1)
    return outputs


@torch.no_grad()
def find_readout(model: LanguageModel, layers: list[nn.Module]) -> list[nn.Module]:
    """Return the modules that turn the last layer's output into logits, in order, found by watching a forward pass.

    Raises:
        LanguageModelError: if they do more than apply one module after the other.
    """
    inside = {id(module) for layer in layers for module in layer.modules()}
    around = {id(module) for module in model.model.modules() if any(layer in module.modules() for layer in layers[:1])}
    outer = [module for module in model.model.modules() if id(module) in around]
    candidates = [child for module in outer for child in module.children() if id(child) not in inside | around]
    called: list[nn.Module] = []
    hidden: list[Tensor] = []
    ids = torch.zeros(1, 3, dtype=torch.long, device=model.device)
    with contextlib.ExitStack() as stack:
        for module in candidates:
            hook = module.register_forward_hook(lambda module, _inputs, _output: called.append(module))
            stack.callback(hook.remove)

        def after_last_layer(_module: nn.Module, _inputs: Any, output: Any) -> None:
            called.clear()
            hidden.append(_hidden(output))

        stack.callback(layers[-1].register_forward_hook(after_last_layer).remove)
        logits = model.model(input_ids=ids, use_cache=False).logits
    cap: float | None = getattr(model.model.config.get_text_config(decoder=True), "final_logit_softcapping", None)
    if cap is not None:
        called.append(SoftCap(cap))
    try:
        is_found = torch.equal(_through(called, hidden[0]).to(logits.device), logits)
    except (RuntimeError, TypeError):
        is_found = False
    if not is_found:
        raise LanguageModelError(
            f"finetune.method=layer_causal: {type(model.model).__name__} has no plain readout of its layers"
        )
    return called


class SoftCap(nn.Module):
    """Keeps logits between -c and c, as Gemma 2 does (arXiv 2408.00118, section 2).

    Args:
        cap: c.
    """

    def __init__(self, cap: float) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, logits: Tensor) -> Tensor:
        """Return ``c * tanh(logits / c)``."""
        return (logits / self.cap).tanh() * self.cap


def _through(modules: list[nn.Module], hidden: Tensor) -> Tensor:
    for module in modules:
        hidden = module(hidden)
    return hidden


def _hidden(output: Any) -> Tensor:
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden

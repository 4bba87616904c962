"""The published backbones' weights in ours, by their names."""

import torch
from torch import Tensor

from iclgd.models.function_transformer import FunctionTransformer, FunctionTransformerConfig


def garg_weights(model: FunctionTransformer) -> dict[str, Tensor]:
    """Return a model's weights by the names in the fixtures C."""
    parts = {"read_in": "_read_in", "backbone": "_backbone", "read_out": "_read_out"}
    return {f"{parts[name.split('.')[0]]}.{name.partition('.')[2]}": w for name, w in model.state_dict().items()}


def load_garg(model: FunctionTransformer, stored: dict[str, Tensor], prefix: str) -> None:
    """Give a model the weights of a fixture C, whose names begin with ``prefix``."""
    own = garg_weights(model)
    given = {name.removeprefix(prefix): each for name, each in stored.items() if name.startswith(prefix)}
    assert own.keys() == given.keys()
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(given[name])


def _raventos_name(name: str) -> str:
    name = (
        name.replace("read_in", "_in").replace("read_out", "_out").replace("backbone.", "_h.").replace("h.h.", "h.hs_")
    )
    last = "scale" if "ln_" in name else "embedding" if "wpe" in name else "kernel"
    return "p." + name.replace("weight", last)


def published_model(stored: dict[str, Tensor], layout: str) -> FunctionTransformer:
    """Return the model of a fixture C5 or D3, in double precision."""
    config = FunctionTransformerConfig(
        int(stored["n_layer"]), int(stored["n_head"]), int(stored["n_embd"]), layout=layout
    )
    _, num_points, dim = stored["xs"].shape
    model = FunctionTransformer(config, dim, num_points, torch.Generator()).double()
    if layout == "garg2022":
        load_garg(model, stored, "p.")
        return model
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            value = stored[_raventos_name(name)]
            weight.copy_(value.T if name.startswith("read_") else value)  # kernels are [in, out]
    return model

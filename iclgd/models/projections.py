"""Where an attention module keeps its key and value projections, also when one fused matrix holds all three."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iclgd.vendors.transformers import CodeGenAttention, Conv1D, FalconAttention

SEPARATE = ("q_proj", "k_proj", "v_proj")
BLOCKS = "c_attn"  # GPT-2: queries, keys and values one after the other, along the columns of a Conv1D
PER_HEAD = "query_key_value"  # GPT-NeoX, Bloom: the same within each head, along the rows of a Linear
GROUPED = "qkv_proj"  # Phi-3: blocks again, with fewer heads of keys and values than of queries
CODEGEN_GROUPS = 4  # CodeGen, under the same name: queries, values and keys within each of four groups


@dataclass(frozen=True)
class KeyValueProjection:
    """The part of one parameter that projects to keys or values.

    Args:
        name: of the parameter within its attention module, such as ``"c_attn.weight"``.
        parameter: the whole parameter.
        dim: the dimension along which its outputs lie.
        num_groups: into how many equal groups the outputs are divided, each with queries first, then keys and values.
        num_queries: of the outputs of a group, those that are queries.
    """

    name: str
    parameter: nn.Parameter
    dim: int = 0
    num_groups: int = 1
    num_queries: int = 0

    def part(self, whole: Tensor) -> Tensor:
        """Return a view of the keys' and values' part of a tensor that has the parameter's shape."""
        groups: Tensor = torch.unflatten(whole, self.dim, (self.num_groups, -1))
        return groups.narrow(self.dim + 1, self.num_queries, groups.shape[self.dim + 1] - self.num_queries)


def find_projections(attention: nn.Module, num_heads: int, num_key_value_heads: int) -> list[KeyValueProjection] | None:
    """Return the key and value projections of an attention module, weights and biases.

    Args:
        attention: a module, of attention or not.
        num_heads: of the queries.
        num_key_value_heads: of the keys and of the values.

    Returns:
        ``None`` if the module has none where we know to look.
    """
    children = dict(attention.named_children())
    if all(isinstance(children.get(name), nn.Linear) for name in SEPARATE):
        return [
            KeyValueProjection(f"{name}.{kind}", parameter)
            for name in SEPARATE[1:]
            for kind, parameter in children[name].named_parameters(recurse=False)
        ]
    if isinstance(attention, CodeGenAttention):
        size = len(attention.qkv_proj.weight) // CODEGEN_GROUPS // 3
        return [KeyValueProjection(f"{GROUPED}.weight", attention.qkv_proj.weight, 0, CODEGEN_GROUPS, size)]
    if isinstance(attention, FalconAttention):
        return _falcon_projections(attention)
    for name, kind in ((BLOCKS, Conv1D), (PER_HEAD, nn.Linear), (GROUPED, nn.Linear)):
        if isinstance(fused := children.get(name), kind):
            return _fused_projections(name, fused, num_heads, num_key_value_heads)
    return None


def _falcon_projections(attention: FalconAttention) -> list[KeyValueProjection]:
    """Return the parts of Falcon's projection: groups of queries, each with a key and a value behind it."""
    num_groups = 1 if attention.multi_query and not attention.new_decoder_architecture else attention.num_kv_heads
    num_queries = attention.num_heads // num_groups * attention.head_dim
    return [
        KeyValueProjection(f"{PER_HEAD}.{kind}", parameter, 0, num_groups, num_queries)
        for kind, parameter in attention.query_key_value.named_parameters(recurse=False)
    ]


def _fused_projections(
    name: str, fused: nn.Module, num_heads: int, num_key_value_heads: int
) -> list[KeyValueProjection] | None:
    """Return the parts of a fused projection; ``None`` if its size is not what we take it for."""
    assert isinstance(fused.weight, Tensor)
    dim = 1 if name == BLOCKS else 0
    num_outputs = fused.weight.shape[dim]
    num_groups = num_heads if name == PER_HEAD else 1
    num_shares = num_heads + 2 * num_key_value_heads  # each of a head's size
    if num_outputs % num_shares or (name != GROUPED and num_key_value_heads != num_heads):
        return None
    num_queries = num_outputs // num_shares * num_heads // num_groups
    return [
        KeyValueProjection(f"{name}.{kind}", parameter, dim if parameter.ndim == 2 else 0, num_groups, num_queries)
        for kind, parameter in fused.named_parameters(recurse=False)
    ]

"""Models of sequences: attention to the past, the mesa layer, and textbook solvers that predict at every position.

Heads are ``(B, H, T, D)``: sequences, heads, positions, channels. Position t sees positions up to t, itself included.
"""

from iclgd.models.sequences.construction import gradient_descent_layer
from iclgd.models.sequences.linear_attention import linear_attention
from iclgd.models.sequences.mesa import mesa_attention
from iclgd.models.sequences.mesa_iterative import iterative_mesa_attention
from iclgd.models.sequences.mesa_recursive import recursive_mesa_attention
from iclgd.models.sequences.solvers import gradient_step, least_squares
from iclgd.models.sequences.transformer import SequenceTransformer, SequenceTransformerConfig

__all__ = [
    "SequenceTransformer",
    "SequenceTransformerConfig",
    "gradient_descent_layer",
    "gradient_step",
    "iterative_mesa_attention",
    "least_squares",
    "linear_attention",
    "mesa_attention",
    "recursive_mesa_attention",
]

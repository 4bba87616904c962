"""What the matrix products of the text experiment cost at least: the floor of its time, on a GPU and on a CPU."""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from iclgd.data.prompts import Prompts
from iclgd.vendors.torch import has_onednn, onednn_linear

SHORTEST_TIMING, FEWEST_TIMED = 0.03, 2  # seconds, and products, that a product's time is measured over


@dataclass(frozen=True)
class Shape:
    """The sizes of a language model that its products have, of a GPT-2 or an XGLM."""

    width: int
    ffn: int
    num_layers: int
    num_heads: int
    vocabulary: int

    @classmethod
    def of(cls, config: PreTrainedConfig) -> "Shape":
        """Return that of a model's config."""
        ffn = getattr(config, "ffn_dim", None) or getattr(config, "n_inner", None) or 4 * config.hidden_size
        return cls(
            config.hidden_size, ffn, config.num_hidden_layers, config.num_attention_heads, int(config.vocab_size or 0)
        )

    @property
    def head_size(self) -> int:
        """Return the width of one head."""
        return self.width // self.num_heads

    @cached_property
    def weights(self) -> list[tuple[int, int]]:
        """Return inputs and outputs of a layer's projections."""
        return [(self.width, 3 * self.width), (self.width, self.width), (self.width, self.ffn), (self.ffn, self.width)]


@dataclass(frozen=True)
class Product:
    """A matrix product ``(rows, inner) x (inner, columns)``; several at once are of as many pairs of matrices.

    Args:
        rows: of the first factor.
        inner: what is summed over.
        columns: of the second factor.
        at_once: how many are made together, as those of an attention layer's heads.
        is_weight: whether the second factor is one of a layer's weights: another one in each layer, read from memory.
    """

    rows: int
    inner: int
    columns: int
    at_once: int = 1
    is_weight: bool = True

    @property
    def operations(self) -> float:
        """Return how many operations it takes, two for each multiply-add."""
        return 2.0 * self.rows * self.inner * self.columns * self.at_once


Products = Counter[Product]  # how often each is made; a half of those of which a causal mask leaves half


def matrix_products(shape: Shape, prompts: Prompts, batch_size: int) -> dict[str, Products]:
    """Return the products that no implementation can do without, of finetuning without its attention.

    Args:
        shape: of the model.
        prompts: demonstrations and queries.
        batch_size: how many queries are run together, those of like length.
    """
    num_layers, num_heads, size = shape.num_layers, shape.num_heads, shape.head_size
    num_context = len(prompts.context)
    demonstrations, queries, finetuning = Products(), Products(), Products()

    def add(
        products: Products, times: float, rows: int, inner: int, columns: int, at_once: int = 1, is_weight: bool = True
    ) -> None:
        products[Product(rows, inner, columns, at_once, is_weight)] += times  # type: ignore[assignment]

    def add_attention(products: Products, times: float, num_queries: int, num_keys: int, at_once: int) -> None:
        for sizes in ((num_queries, size, num_keys), (num_queries, num_keys, size)):  # scores and their use
            add(products, times * num_layers, *sizes, at_once=at_once, is_weight=False)

    for inputs, outputs in shape.weights:
        add(demonstrations, num_layers, num_context, inputs, outputs)
    add_attention(demonstrations, 0.5, num_context, num_context, num_heads)
    ordered = sorted(len(query) for query in prompts.queries)
    for begin in range(0, len(ordered), batch_size):
        lengths = ordered[begin : begin + batch_size]
        for inputs, outputs in shape.weights:
            add(queries, 3 * num_layers, sum(lengths), inputs, outputs)
        add(queries, 3, len(lengths), shape.width, shape.vocabulary)
        for length, number in Counter(lengths).items():
            add_attention(queries, 3 * 0.5, length, length, number * num_heads)
        add_attention(queries, 1, sum(lengths), num_context, num_heads)
    for example in prompts.finetuning_examples:
        length = len(example)
        for inputs, outputs in shape.weights:
            add(finetuning, num_layers, length, inputs, outputs)
            # The gradient of activations; nothing below the first layer's own projections needs one.
            add(finetuning, num_layers - (outputs == 3 * shape.width), length, outputs, inputs)
        add(finetuning, num_layers, shape.width, length, 2 * shape.width, is_weight=False)
        add(finetuning, 1, length - 1, shape.width, shape.vocabulary)
        add(finetuning, 1, length - 1, shape.vocabulary, shape.width)
    return {"demonstrations": demonstrations, "queries": queries, "finetuning": finetuning}


def floating_point_operations(products: dict[str, Products]) -> dict[str, float]:
    """Return the operations of each part's products."""
    return {name: sum(product.operations * times for product, times in of.items()) for name, of in products.items()}


def matmul_peak(device: str, size: int) -> float:
    """Return operations per second of a large matrix product in bfloat16: the best of several."""
    first, second = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        (first @ second)[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


COUNTED = {"gpt2", "xglm"}  # the kinds of models whose products these are


class ProcessorFloor:
    """Measures what products take on this machine's processor: each in its own shape, with weights from memory.

    Args:
        shape: of the model; so many weights are held as it has, and each product goes from one layer's to the next's.
    """

    def __init__(self, shape: Shape) -> None:
        self.num_layers = shape.num_layers
        self.weights = {
            (inputs, outputs): [torch.randn(inputs, outputs) for _ in range(shape.num_layers)]
            for inputs, outputs in shape.weights
        } | {(shape.width, shape.vocabulary): [torch.randn(shape.vocabulary, shape.width).T]}

    def seconds(self, products: dict[str, Products]) -> float:
        """Return the processor's seconds for all of them."""
        together = sum(products.values(), Products())
        return math.fsum(times * self._seconds_of_one(product) for product, times in together.items())

    def _seconds_of_one(self, product: Product) -> float:
        """Return the least that one takes: with weights PyTorch's own product or oneDNN's, whichever is faster."""
        first, seconds = self._factors(product)
        ways: list[Callable[[Tensor, Tensor], Tensor]] = [torch.matmul]
        if product.is_weight and has_onednn():
            ways.append(lambda first, second: onednn_linear(first, second.T, None))
        return min(_seconds_of(way, first, seconds) for way in ways)

    def _factors(self, product: Product) -> tuple[Tensor, list[Tensor]]:
        inner, columns = product.inner, product.columns
        if not product.is_weight:
            several = () if product.at_once == 1 else (product.at_once,)
            return torch.randn(*several, product.rows, inner), [torch.randn(*several, inner, columns)]
        first = torch.randn(product.rows, inner)
        if (inner, columns) in self.weights:
            return first, self.weights[inner, columns]
        return first, [weight.T for weight in self.weights[columns, inner]]  # of a gradient


def _seconds_of(multiply: Callable[[Tensor, Tensor], Tensor], first: Tensor, seconds: list[Tensor]) -> float:
    multiply(first, seconds[0])
    start, elapsed = time.process_time(), 0.0
    for number, second in enumerate(itertools.cycle(seconds), 1):
        multiply(first, second)
        elapsed = time.process_time() - start
        if elapsed > SHORTEST_TIMING and number >= FEWEST_TIMED:
            return elapsed / number
    raise AssertionError("there are no matrices")

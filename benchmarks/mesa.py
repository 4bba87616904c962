"""Milliseconds of the mesa layer beside linear attention of the same width, against the length of sequences.

Whole layers with their projections, and attention alone; forward passes, and forward with backward. All take turns;
times are of the processor (on a GPU: of the clock), medians and their ratios count. One JSON line for each length, and
last how the mesa layer's time grows with the length: the exponent, which is 1 where it is linear.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.regression import positive
from iclgd.models.sequences import linear_attention, mesa_attention
from iclgd.models.sequences.attention import SequenceAttention

Call = Callable[[], Tensor]


def calls(width: int, num_heads: int, num_sequences: int, length: int, device: str) -> dict[str, Call]:
    """Return what is measured, by name: ``NAME`` is a whole layer, ``NAME_alone`` its attention."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(num_sequences, length, width, generator=generator).to(device).requires_grad_()
    shape = (num_sequences, num_heads, length, width // num_heads)
    queries, keys, values = (
        (torch.randn(shape, generator=generator) / shape[-1] ** 0.5).to(device).requires_grad_() for _ in range(3)
    )
    strength = torch.ones(num_heads, device=device, requires_grad=True)
    layers = {
        kind: SequenceAttention(width, num_heads, kind, width // num_heads, normalize=normalize).to(device)
        for kind, normalize in (("mesa", "keys"), ("linear", "none"))
    }
    return {
        "mesa": lambda: layers["mesa"](tokens),
        "linear": lambda: layers["linear"](tokens),
        "mesa_alone": lambda: mesa_attention(queries, keys, values, strength),
        "linear_alone": lambda: linear_attention(queries, keys, values),
    }


def timed(call: Call, with_backward: bool, device: str) -> float:
    """Return the milliseconds of a call."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    with torch.set_grad_enabled(with_backward):
        result = call()
        if with_backward:
            result.sum().backward()  # type: ignore[no-untyped-call]
    if device != "cpu":
        torch.cuda.synchronize()
    return 1000 * (clock() - start)


def measure(options: argparse.Namespace, length: int) -> dict[str, object]:
    """Return the record of one length."""
    measured = calls(options.width, options.heads, options.sequences, length, options.device)
    record: dict[str, object] = {"benchmark": "mesa", "tokens": length, "width": options.width, "heads": options.heads}
    for with_backward, suffix in ((False, ""), (True, "_backward")):
        turns = [
            {name: timed(call, with_backward, options.device) for name, call in measured.items()}
            for _ in range(options.repeats + 1)
        ][1:]  # the first warms up
        for name in measured:
            record[f"{name}{suffix}_ms"] = round(statistics.median(turn[name] for turn in turns), 2)
        for kind in ("", "_alone"):
            ratios = [turn[f"mesa{kind}"] / turn[f"linear{kind}"] for turn in turns]
            record[f"ratio{kind}{suffix}"] = round(statistics.median(ratios), 2)
    return record


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lengths", nargs="*", type=positive, metavar="T", help="tokens (default: 125 250 500 1000)")
    parser.add_argument("--width", type=positive, default=256, metavar="C", help="of a token (default: 256)")
    parser.add_argument("--heads", type=positive, default=4, metavar="H", help="which divide it (default: 4)")
    parser.add_argument("--sequences", type=positive, default=8, metavar="B", help="at once (default: 8)")
    parser.add_argument("--repeats", type=positive, default=5, metavar="R", help="turns of each (default: 5)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where (default: cpu)")
    options = parser.parse_args(arguments)
    if options.width % options.heads:
        parser.error(f"--heads must divide --width ({options.width}), got {options.heads}")
    torch.set_num_threads(1)
    lengths = options.lengths or [125, 250, 500, 1000]
    times = []
    for length in lengths:
        record = measure(options, length)
        print(json.dumps(record), flush=True)
        times.append(float(str(record["mesa_alone_backward_ms"])))
    if len(lengths) > 1:
        exponent = math.log(times[-1] / times[0]) / math.log(lengths[-1] / lengths[0])
        print(json.dumps({"benchmark": "mesa/length", "tokens": lengths, "exponent": round(exponent, 2)}), flush=True)


if __name__ == "__main__":
    main()

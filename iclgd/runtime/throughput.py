"""How much of a device's arithmetic the training of a language model uses: its model FLOPs utilisation.

As in appendix B of Chowdhery et al. 2022, *PaLM: scaling language modeling with pathways* (arXiv 2204.02311).
"""

import torch

PEAKS = {  # of dense products in bfloat16, per second, from NVIDIA's data sheets; the first name that fits
    "H200": 989.4e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989.4e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165.2e12,
}


def model_flops_per_token(num_weights: int, num_layers: int, hidden_size: int, num_tokens: int) -> int:
    """Return the operations that training on a token needs: 6 N + 12 L H Q T, its two passes without any repetition.

    Attention counts as in the paper, as if every token attended to all others: half of that is masked.

    Args:
        num_weights: N, those of the matrices that a token is multiplied with.
        num_layers: L.
        hidden_size: H Q, the heads times the size of each.
        num_tokens: T, of a sequence.

    Example:
        >>> model_flops_per_token(124_318_464, 12, 768, 1024) / 1e9  # GPT-2
        0.859156992
    """
    return 6 * num_weights + 12 * num_layers * hidden_size * num_tokens


def peak_flops(device_name: str) -> float | None:
    """Return the operations per second that a GPU can do, with matrices in bfloat16; ``None`` if it is not known.

    Example:
        >>> peak_flops("NVIDIA H100 80GB HBM3")
        989400000000000.0
    """
    words = f"{device_name} ".replace("-", " ")
    return next((peak for name, peak in PEAKS.items() if f" {name} " in words), None)


def utilization(flops_per_second: float, device: torch.device, precision: str) -> float | None:
    """Return which share of a device's peak is used; ``None`` where that is not known.

    That is so on a CPU, whose peak depends on more than its name, and in other precisions than bfloat16.

    Args:
        flops_per_second: of the model, on this device alone.
        device: which one.
        precision: of the Trainer.
    """
    if device.type != "cuda" or not precision.startswith("bf16"):
        return None
    peak = peak_flops(torch.cuda.get_device_name(device))
    return None if peak is None else flops_per_second / peak

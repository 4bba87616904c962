"""Demonstrations with wrong labels, for the control "shuffled labels"."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from iclgd.data.text_task import TextExample


def shuffle_labels(demonstrations: Sequence[TextExample], generator: torch.Generator) -> list[TextExample]:
    """Return the same texts with the labels exchanged among them: the control "shuffled labels".

    Where each has answers of its own, with any of these (random labels of Min et al. 2022, arXiv 2202.12837, section
    4). At least one label differs from before, unless all are the same.

    Args:
        demonstrations: in order.
        generator: on the CPU.
    """
    labels = [example.label for example in demonstrations]
    numbers = [len(example.choices) for example in demonstrations]
    shuffled = labels
    while shuffled == labels and (any(numbers) or len(set(labels)) > 1):
        if any(numbers):
            shuffled = [int(torch.randint(number, (), generator=generator)) for number in numbers]
        else:
            shuffled = [labels[index] for index in torch.randperm(len(labels), generator=generator).tolist()]
    return [replace(example, label=label) for example, label in zip(demonstrations, shuffled, strict=True)]

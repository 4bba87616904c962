"""Rank measures of scores with ties, which random models do not have."""

import torch

from iclgd.metrics.rank import kendall_tau, top_k_recall
from tests.devices.conftest import Gpu


def test_ranks_with_ties(gpu: Gpu) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randint(4, (6, 20), generator=generator).double() for _ in range(2))
    with gpu.there():
        tau = kendall_tau(first.to("cuda"), second.to("cuda"))
        assert tau.is_cuda
        torch.testing.assert_close(tau.cpu(), kendall_tau(first, second), rtol=0, atol=1e-12)
        assert top_k_recall(first.to("cuda"), second.to("cuda"), 5).is_cuda

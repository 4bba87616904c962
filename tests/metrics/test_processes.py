"""All metrics over two processes that have unequal shares."""

import os
import warnings
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import Tensor

from tests.metrics.test_alignment import METRICS, arguments, in_numpy
from tests.metrics.test_text_metrics import CASES, B, measured, wrapped


def _measured(rank: int) -> dict[str, Tensor]:
    found = {name: measured(name, slice(0, 11) if rank == 0 else slice(11, B)).compute() for name in CASES}
    for metric in METRICS:
        preds, target = arguments(metric)
        part = slice(0, 11) if rank == 0 else slice(11, 30)
        of_part = metric()
        of_part.update(preds[part], target[part])
        found[metric.__name__] = of_part.compute()
    return found


def _measure_on_one_rank(rank: int, rendezvous: str, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    torch.save(_measured(rank), f"{folder}/{rank}.pt")
    with pytest.raises(ValueError, match=r"^indices must be given where queries are divided among processes$"):
        wrapped("SimAOU").update(*CASES["SimAOU"][1])
    torch.distributed.destroy_process_group()


def test_metrics_add_up_over_processes(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: those of libraries that idle
        torch.multiprocessing.start_processes(  # forks have imported everything
            _measure_on_one_rank, (str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=2, start_method="fork"
        )
    of_text = {name: measured(name).compute() for name in CASES}
    of_tasks = {metric.__name__: in_numpy(metric, *arguments(metric)) for metric in METRICS}
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close({name: found[name] for name in of_text}, of_text, rtol=0, atol=1e-12)
        assert {name: found[name].item() for name in of_tasks} == pytest.approx(of_tasks, rel=1e-5)

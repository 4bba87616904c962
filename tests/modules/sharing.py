"""Runs on two processes, which share out the work by DDP and by FSDP.

As ``python -m tests.modules.sharing CONFIG``, with the runs in ``$ICLGD_RUNS`` and a free port for each of them in
``$PORTS``. A program of its own, which becomes two processes once all is imported: the one that runs the tests may have
threads, and could not.
"""

import multiprocessing
import os
import shutil
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path
from unittest import mock

from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import start_processes

from iclgd import config as configs
from iclgd.experiment import resume, run
from iclgd.experiments.language_modeling import Config
from iclgd.modules import language_modeling
from iclgd.tracking.run_directory import runs_folder

STRATEGIES = ("ddp", "fsdp")


def main(rank: int, barrier: Barrier, path: str) -> None:
    """Run by each strategy; then go on from the checkpoint in the middle of the last one, as if it had been killed."""
    os.environ |= {"NODE_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
    *ports, last_port = os.environ["PORTS"].split()
    for strategy, port in zip(STRATEGIES, ports, strict=True):
        os.environ["MASTER_PORT"] = port
        config = configs.load(Path(path), ["trainer.num_nodes=2", f"trainer.strategy={strategy}"])
        assert isinstance(config, Config)
        with mock.patch.object(language_modeling, "fully_shard", wraps=fully_shard) as sharing_out:
            run(config, strategy)
        assert sharing_out.call_count == (config.model.num_layers + 1 if strategy == "fsdp" else 0)
    resumed = runs_folder() / "resumed"
    if rank == 0:
        (whole,) = (runs_folder() / "fsdp").iterdir()
        shutil.copytree(whole, resumed)
        (resumed / "checkpoints" / "step=20.ckpt").unlink()
        (resumed / "summary.json").unlink()
        shutil.rmtree(resumed / "model")
    barrier.wait()
    os.environ["MASTER_PORT"] = last_port
    resume(resumed)


if __name__ == "__main__":
    both = multiprocessing.get_context("fork").Barrier(2)
    start_processes(main, args=(both, sys.argv[1]), nprocs=2, start_method="fork")

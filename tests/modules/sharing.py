"""Train the same small model on two processes by DDP and by FSDP; what the first process finds goes to a folder.

Started twice, once for each process, as ``python -m tests.modules.sharing FOLDER``.
"""

import os
import sys
from pathlib import Path

import torch

from iclgd.experiments.language_modeling import Config, prepare
from iclgd.runtime.checkpointing import KeepCheckpoints, WholeWeights
from iclgd.runtime.recording import MetricsRecorder
from iclgd.runtime.trainer import make_trainer
from iclgd.tracking.run_directory import RunDirectory
from tests.modules.test_language_modeling import small

STEPS = ["trainer.max_steps=20", "evaluation.every_num_steps=10"]


def train(config: Config, folder: Path | None = None, checkpoint: Path | None = None) -> dict[str, torch.Tensor]:
    """Train; return the weights, on the first process, and the losses.

    Args:
        config: of the training.
        folder: for checkpoints; on the first process alone, unless there is none.
        checkpoint: from which to go on.
    """
    data, module = prepare(config)
    whole, recorder = WholeWeights(), MetricsRecorder()
    is_kept = folder is not None or config.trainer.num_nodes > 1
    keep = KeepCheckpoints(RunDirectory(folder) if folder is not None else None) if is_kept else None
    trainer = make_trainer(config.trainer, keep, [], [recorder, whole], accumulation=config.training.accumulation)
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    trainer.test(module, data, verbose=False)
    losses = torch.tensor([row["val/loss"] for row in recorder.table.records()])
    return {name: weight.clone() for name, weight in whole.weights.items()} | {"losses": losses}


def main(folder: Path) -> None:
    is_first = os.environ["NODE_RANK"] == "0"
    found = {}
    for strategy in ("ddp", "fsdp"):
        config = small(*STEPS, "trainer.num_nodes=2", f"trainer.strategy={strategy}")
        found[strategy] = train(config, folder / strategy if is_first else None)
    middle = folder / "fsdp" / "checkpoints" / "step=10.ckpt"
    found["resumed"] = train(config, folder / "resumed" if is_first else None, middle)
    if is_first:
        torch.save(found, folder / "found.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

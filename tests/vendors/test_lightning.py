import signal
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from iclgd.experiment import prepare_process
from iclgd.runtime.meeting import Launcher, MeetingStrategy
from iclgd.runtime.trainer import ReplicatedStrategy
from iclgd.vendors.lightning import children_of, leave_signals_alone, set_rank


class OneStep(LightningModule):
    """Notes who answers SIGTERM while it trains."""

    answers: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.answers = signal.getsignal(signal.SIGTERM)
        return self.weight

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def test_lightning_is_as_we_take_it() -> None:
    prepare_process(num_threads=1)
    module, before = OneStep(), signal.getsignal(signal.SIGTERM)
    trainer = Trainer(max_steps=1, barebones=True, accelerator="cpu")
    leave_signals_alone(trainer)
    trainer.fit(module, [torch.ones(1)])
    assert module.answers == before, "Lightning handles SIGTERM again: a process that is told to stop blocks the others"

    trainer = Trainer(
        strategy=MeetingStrategy(), devices=2, accelerator="cpu", logger=False, enable_checkpointing=False
    )
    launcher = trainer.strategy.launcher
    assert isinstance(launcher, Launcher), "Lightning starts other processes by a launcher of its own, which kills runs"
    started: list[str] = []
    launcher._call_children_scripts = lambda: started.append("all")  # type: ignore[method-assign]
    launcher.start_others()
    assert started == ["all"], "Lightning's launcher has another name for starting processes"
    assert children_of(trainer) is launcher.procs, "Lightning keeps started processes elsewhere: interrupts leave them"

    replicated = ReplicatedStrategy()
    replicated.configure_ddp()  # Lightning's own would wrap a module, which there is not yet
    assert replicated.model is None, "Lightning wraps a module elsewhere: finetuning would be averaged over processes"

    rank = getattr(rank_zero_only, "rank", None)
    try:
        set_rank(1)
        assert rank_zero_only(lambda: True)() is None, "Lightning knows its rank elsewhere: every process would write"
    finally:
        rank_zero_only.rank = rank  # type: ignore[attr-defined]

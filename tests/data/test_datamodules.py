import threading

import pytest
import torch

from iclgd.data import LinearRegressionTask, RegressionBatch
from iclgd.data.datamodules import TaskStream
from tests.fixtures import assert_close

TASK = LinearRegressionTask(num_context=3, input_dim=2)


def stream(num_batches: int = 20, shard: tuple[int, int] = (0, 1)) -> TaskStream:
    return TaskStream(TASK, torch.Generator().manual_seed(0), 8, num_batches, shard=shard)


def drawing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "draw-ahead"]


def test_drawing_ahead_changes_nothing() -> None:
    ahead = stream()
    generator = torch.Generator().manual_seed(0)
    for batch in ahead:
        expected = TASK.sample(8, generator)
        assert all(torch.equal(a, b) for a, b in zip(batch, expected, strict=True))
    assert torch.equal(ahead.generator.get_state(), generator.get_state())
    assert not drawing_threads()


def test_stopping_early_leaves_no_thread() -> None:
    batches = iter(stream(1000))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not drawing_threads()


def test_errors_while_drawing_reach_the_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> RegressionBatch:
        raise RuntimeError("no more tasks")

    monkeypatch.setattr(LinearRegressionTask, "sample", fail)
    with pytest.raises(RuntimeError, match="no more tasks"):
        next(iter(stream()))
    assert not drawing_threads()


def test_ranks_share_one_batch() -> None:
    for whole, *parts in zip(stream(), stream(shard=(0, 2)), stream(shard=(1, 2)), strict=True):
        assert_close(torch.cat([part.x for part in parts]), whole.x, 0.0)

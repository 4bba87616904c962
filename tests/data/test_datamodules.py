import torch

from iclgd.data import LinearRegressionTask
from iclgd.data.datamodules import TaskStream

TASK = LinearRegressionTask(num_context=3, input_dim=2)


def stream(num_batches: int = 20, shard: tuple[int, int] = (0, 1)) -> TaskStream:
    return TaskStream(TASK, torch.Generator().manual_seed(0), 8, num_batches, shard=shard)


def test_a_stream_is_what_its_generator_draws() -> None:
    drawn = stream(12)
    batches = list(drawn)
    generator = torch.Generator().manual_seed(0)
    expected = []
    for size in (1, 2, 4, 5):  # batches drawn together
        tasks = TASK.sample(8 * size, generator)
        expected += [tasks.shard(index, size) for index in range(size)]
    assert len(batches) == 12
    for batch, other in zip(batches, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))
    assert torch.equal(drawn.generator.get_state(), generator.get_state())


def test_ranks_share_one_batch() -> None:
    for whole, *parts in zip(stream(), stream(shard=(0, 2)), stream(shard=(1, 2)), strict=True):
        assert torch.equal(torch.cat([part.x for part in parts]), whole.x)
        assert torch.equal(torch.cat([part.target for part in parts]), whole.target)

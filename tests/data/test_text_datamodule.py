import random

import pytest

from iclgd.data.text_datamodule import batches_of_like_length


@pytest.mark.parametrize("most_padding", [None, 0, 5, 40])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_every_query_is_in_one_batch_that_pads_no_more_than_allowed(batch_size: int, most_padding: int | None) -> None:
    drawn = random.Random(0)
    lengths = sorted(drawn.randint(3, 12) for _ in range(50))
    batches = batches_of_like_length(lengths, batch_size, most_padding)
    assert [place for batch in batches for place in batch] == list(range(50))
    paddings = [sum(lengths[batch[-1]] - lengths[place] for place in batch) for batch in batches]
    assert max(map(len, batches)) <= batch_size
    assert most_padding is None or max(paddings) <= most_padding
    for batch in batches[:-1]:  # none ends before it has to
        after = sum(lengths[batch.stop] - lengths[place] for place in batch)
        assert len(batch) == batch_size or (most_padding is not None and after > most_padding)


def test_no_queries_are_no_batches() -> None:
    assert batches_of_like_length([], 4, None) == []

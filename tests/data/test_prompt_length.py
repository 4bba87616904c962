"""Which demonstrations and queries fit, against the definition: everything in one sequence is within the limit."""

from collections.abc import Sequence
from itertools import accumulate

import pytest

from iclgd.data.prompt_length import OverlongQueryError, fitting_prompts, num_that_fit
from iclgd.data.text_task import TextExample

DEMONSTRATIONS, QUERIES, BESIDE = (9, 8, 9), (4, 10, 7, 20), 2


@pytest.mark.parametrize("drop", [True, False])
@pytest.mark.parametrize("max_length", range(12, 52, 3))
def test_demonstrations_and_queries_fit_into_one_sequence(max_length: int, drop: bool) -> None:
    needed = DEMONSTRATIONS[:1] if drop else DEMONSTRATIONS
    overlong = tuple(i for i, size in enumerate(QUERIES) if sum(needed) + size + BESIDE > max_length)

    def fit() -> tuple[int, str | None]:
        texts = [f"query {size}" for size in QUERIES]
        return num_that_fit("toy", list(accumulate(DEMONSTRATIONS)), QUERIES, texts, BESIDE, max_length, drop)

    if overlong:
        with pytest.raises(OverlongQueryError) as caught:
            fit()
        assert caught.value.indices == overlong
        return
    num, note = fit()
    assert num == max(num for num in (1, 2, 3) if sum(DEMONSTRATIONS[:num]) + max(QUERIES) + BESIDE <= max_length)
    assert (note is None) == (num == 3)


def example(label: int) -> TextExample:
    return TextExample({"text": "rain"}, label)


def limited(limits: list[int], asked: Sequence[TextExample]) -> list[int]:
    """Build for queries whose labels are their lengths; the limit is lower the second time."""
    sizes = [query.label for query in asked]
    limit = limits.pop(0)
    if overlong := [index for index, size in enumerate(sizes) if size > limit]:
        raise OverlongQueryError(f"longer than {limit}", overlong)
    return sizes


def test_a_query_that_does_not_fit_in_one_draw_is_asked_in_none() -> None:
    queries = [example(size) for size in (3, 9, 1, 7, 8)]
    first, second = [8, 8, 8], [7, 7, 7]
    kept, found = fitting_prompts(
        queries, [lambda asked: limited(first, asked), lambda asked: limited(second, asked)], True
    )
    assert [query.label for query in kept] == [3, 1, 7]
    assert found == [[3, 1, 7]] * 2
    with pytest.raises(OverlongQueryError, match="longer than 8"):
        fitting_prompts(queries, [lambda asked: limited([8], asked)], False)


def test_none_may_be_left() -> None:
    queries = [example(size) for size in (3, 9)]
    with pytest.raises(OverlongQueryError, match="longer than 2"):
        fitting_prompts(queries, [lambda asked: limited([3], asked), lambda asked: limited([2], asked)], True)


def test_shorter_queries_may_be_found_later() -> None:
    found = fitting_prompts(
        [example(size) for size in (3, 9, 5)], [lambda asked, limits=[6, 4, 4]: limited(limits, asked)], True
    )
    assert found == ([example(3)], [[3]])

import pytest

from iclgd.data.functions import LinearFunctionTask
from iclgd.data.functions.curriculum import Curriculum, PromptSize, scheduled
from tests.function_references import numbers

CASES = sorted(numbers("C6_curriculum"))
PUBLISHED = Curriculum(start_dims=5, start_points=11)


@pytest.mark.parametrize("name", CASES)
def test_sizes_change_where_the_published_ones_do(name: str) -> None:
    stored = numbers("C6_curriculum")[name]
    dims, points = (
        {ours: stored["schedule"][key][theirs] for ours, theirs in
         (("start", "start"), ("end", "end"), ("increment", "inc"), ("interval", "interval"))}
        for key in ("dims", "points")
    )  # fmt: skip
    changes: list[list[int]] = []
    for step in range(stored["steps"]):
        size = [scheduled(step, **dims), scheduled(step, **points)]
        if not changes or changes[-1][1:] != size:
            changes.append([step, *size])
    assert changes == stored["changes"]


def test_increments_are_those_of_linear_functions() -> None:
    changes, task = numbers("C6_curriculum")["linear_regression"]["changes"], LinearFunctionTask()
    assert all(PUBLISHED.at(step, task) == PromptSize(dims, points) for step, dims, points in changes)
    assert PUBLISHED.at(10**6, task) == PromptSize(20, 41)


def test_without_a_start_prompts_are_whole() -> None:
    task = LinearFunctionTask()
    assert {Curriculum().at(step, task) for step in (0, 1, 10**6)} == {PromptSize(20, 41)}
    assert Curriculum(start_points=11).at(0, task) == PromptSize(20, 11)


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"^training.curriculum.dims_interval must be at least 1, got 0"):
        Curriculum(dims_interval=0)
    with pytest.raises(ValueError, match=r"^training.curriculum.start_dims must be at most task.input_dim \(4\), got"):
        PUBLISHED.check(LinearFunctionTask(input_dim=4))
    with pytest.raises(ValueError, match=r"^training.curriculum.start_points must be at most task.num_points \(9\)"):
        PUBLISHED.check(LinearFunctionTask(num_points=9))
    PUBLISHED.check(LinearFunctionTask())

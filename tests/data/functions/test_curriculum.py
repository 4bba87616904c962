import pytest

from iclgd.data.functions import LinearFunctionTask
from iclgd.data.functions.curriculum import Curriculum, PromptSize, scheduled
from tests.function_references import numbers

CASES = sorted(numbers("C6_curriculum"))


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


def test_defaults_are_those_of_linear_functions() -> None:
    changes, task = numbers("C6_curriculum")["linear_regression"]["changes"], LinearFunctionTask()
    assert all(Curriculum().at(step, task) == PromptSize(dims, points) for step, dims, points in changes)
    assert Curriculum().at(10**6, task) == PromptSize(20, 41)


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"curriculum.dims_interval must be at least 1, got 0"):
        Curriculum(dims_interval=0)
    with pytest.raises(ValueError, match=r"curriculum.start_dims must be at most task.input_dim \(4\), got 5"):
        Curriculum().check(LinearFunctionTask(input_dim=4))
    with pytest.raises(ValueError, match=r"curriculum.start_points must be at most task.num_points \(9\), got 11"):
        Curriculum().check(LinearFunctionTask(num_points=9))
    Curriculum().check(LinearFunctionTask())

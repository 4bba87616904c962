import numpy as np
import pytest
import torch

from iclgd.memory import Need, TooLargeError, available, check, is_exhausted

GIBIBYTE = 2**30


def test_what_cannot_fit_is_refused_with_what_to_reduce(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iclgd.memory.available", lambda _: 8 * GIBIBYTE)
    needs = [Need(3 * GIBIBYTE, "a batch", "batch_size"), Need(5 * GIBIBYTE, "a model", "num_layers")]
    check(needs)
    with pytest.raises(TooLargeError) as error:
        check([*needs, Need(1, "a byte", "nothing")])
    expected = "a model would need at least 5.0 GiB of memory, and there are 8.0 GiB: reduce num_layers"
    assert str(error.value) == expected


def test_there_is_some_memory() -> None:
    assert GIBIBYTE / 4 < available() < 2**50


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(2**50),
        lambda: torch.empty(2**62),
        lambda: torch.empty(10**30),
        lambda: np.empty(2**55),
        lambda: bytearray(2**60),
    ],
)
def test_every_allocators_error_is_recognised(allocate) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Exception) as error:
        allocate()
    assert is_exhausted(error.value), error.value


def test_other_errors_are_not() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not is_exhausted(error.value)
    assert not any(map(is_exhausted, (ValueError("out of range"), OSError(28, "No space left on device"), KeyError())))
    assert is_exhausted(OSError(12, "Cannot allocate memory"))

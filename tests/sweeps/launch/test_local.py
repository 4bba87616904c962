"""What the local launcher says when workers die, without any worker."""

from types import SimpleNamespace
from typing import Any

import pytest

from iclgd.sweeps.launch import local


class Dying:
    """Workers of which each one ends at once, with the same exit code."""

    def __init__(self, code: int) -> None:
        self.code, self.num_running, self.num_started = code, 0, 0
        self.folder = SimpleNamespace(stop_mode=lambda: None)

    def start(self, index: int) -> None:
        self.num_running, self.num_started = 1, self.num_started + 1

    def ended(self) -> dict[int, int]:
        self.num_running = 0
        return {0: self.code}

    def last_words(self, index: int) -> str:
        return "the disk is full"


@pytest.mark.parametrize(
    ("code", "num_started", "problem"),
    [
        (-9, 3, "2 workers in a row were killed (signal 9) before any trial was done"),
        (2, 1, "the disk is full"),
        (0, 1, None),
    ],
)
def test_what_went_wrong_is_said(
    code: int, num_started: int, problem: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "MAX_DEATHS", 2)
    monkeypatch.setattr(local, "SECONDS_BETWEEN_LOOKS", 0.0)
    workers: Any = Dying(code)
    progress: Any = SimpleNamespace(num_ended=0, is_over=False)
    display: Any = SimpleNamespace(show=lambda _: None)
    assert local.run_workers(workers, 1, lambda: progress, display) == problem
    assert workers.num_started == num_started

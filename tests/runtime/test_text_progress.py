import re
from collections.abc import Callable

import pytest

from tests.conftest import ROOT

Cli = Callable[..., tuple[int, str, str]]
RUN = (
    *("run", ROOT / "configs" / "text" / "embedded.yaml", "tracking.mode=disabled", "task.num_queries=8"),
    *("demonstrations.num=3", "evaluation={controls: [], other_task: null, batch_size: 4}"),
)


def test_a_short_run_says_nothing_of_it(cli: Cli) -> None:
    code, _, err = cli(*RUN)
    assert (code, err) == (0, "")


def test_a_long_run_without_a_terminal_has_plain_lines(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iclgd.runtime.text_progress.TextProgress.__init__.__defaults__", (0.0,))
    code, _, err = cli(*RUN)
    assert code == 0
    expected = [f"finetuning step {step}/3" for step in (1, 2, 3)] + [f"batch of queries {batch}/2" for batch in (1, 2)]
    assert err.splitlines() == expected


def test_on_a_terminal_there_are_bars(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    code, out, err = cli(*RUN)
    assert code == 0
    assert re.search(r"finetuning steps .*3/3", err)
    assert re.search(r"batches of queries .*2/2", err)
    assert "finetuning steps" not in out

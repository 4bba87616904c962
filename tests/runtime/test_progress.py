import re
from collections.abc import Callable
from pathlib import Path

import pytest

from iclgd.runtime.progress import NUM_PLAIN_LINES

pytestmark = pytest.mark.usefixtures("quick_images")
Cli = Callable[..., tuple[int, str, str]]


def test_without_a_terminal_there_are_a_few_plain_lines(cli: Cli, small_config: Path) -> None:
    code, _, err = cli("run", small_config, "trainer.max_steps=1000")
    assert code == 0
    steps = [int(step) for step in re.findall(r"^step (\d+)/1000  loss \d", err, re.MULTILINE)]
    assert steps == list(range(100, 1001, 100))
    assert len(steps) == NUM_PLAIN_LINES
    assert "\x1b" not in err


def test_on_a_terminal_there_is_a_bar(cli: Cli, small_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    code, out, err = cli("run", small_config)
    assert code == 0
    assert re.search(r"training .*50/50.*loss 0\.\d{4}  gd 0\.\d{4}  cosine", err)
    assert "training" not in out

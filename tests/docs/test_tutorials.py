"""Tutorials are typed: their files are written, their commands run one after the other, in a folder with nothing else.

What a page shows in Python with ``>>>`` pytest runs by itself, as in all pages.
"""

import re
import runpy
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import SMALL
from tests.docs.pages import TUTORIALS, blocks, titled_blocks
from tests.test_experiment import Cli

SLOW = ("first_sweep",)  # workers are processes, each of which imports torch
# What needs a machine, a server or a network that is not here, and the tests that have it.
ELSEWHERE = {
    ("make",): "the workflow, on every Python",
    ("hf",): "Hugging Face's own",
    ("iclgd", "track"): "tests/tracking, with a server of W&B's interface",
    ("iclgd", "sweep", "upload"): "tests/sweeps, likewise",
    ("iclgd", "sweep", "smoke"): "tests/slurm",
}


def must_be_elsewhere(command: Sequence[str]) -> bool:
    """Return whether a command is not run here, unless it only says what it would do."""
    return "--dry-run" not in command and any(tuple(command[: len(start)]) == start for start in ELSEWHERE)


def typed(page: Path) -> list[list[str]]:
    """Return a tutorial's commands as lists of words."""
    return [shlex.split(line, comments=True) for block in blocks(page) for line in block.splitlines()]


def write_files(page: Path, folder: Path) -> None:
    """Write the files that a tutorial shows."""
    for name, text in titled_blocks(page).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


class Typist:
    """Types commands; a path that a run or a sweep has printed last is what ``RUN_DIR`` and ``SWEEP_DIR`` stand for."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli
        self._stands_for: dict[str, str] = {}

    def type(self, words: Sequence[str]) -> str:
        """Run a command; return what it has printed.

        Raises:
            AssertionError: unless it has ended well.
        """
        program, *rest = (self._stands_for.get(word, word) for word in words)
        if program == "python":
            runpy.run_path(rest[0], run_name="__main__")
            return ""
        assert program == "iclgd", words
        code, out, err = self._cli(*rest)
        assert code == 0, (words, err)
        last = (out.splitlines() or [""])[-1]
        if rest[0] in ("run", "sweep") and Path(last).is_dir():
            self._stands_for["RUN_DIR" if rest[0] == "run" else "SWEEP_DIR"] = last
        return out


PARAMETERS = [
    pytest.param(page, id=page.stem, marks=[pytest.mark.slow] if page.stem in SLOW else [])
    for page in TUTORIALS
    if not all(map(must_be_elsewhere, typed(page)))
]


@pytest.mark.parametrize("page", PARAMETERS)
@pytest.mark.usefixtures("quick_images")
def test_tutorials_can_be_typed(cli: Cli, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICLGD_RUNS", "runs")  # where they are without it
    monkeypatch.setenv("WANDB_MODE", "disabled")  # its process takes seconds to start
    write_files(page, tmp_path)
    typist = Typist(cli)
    for command in typed(page):
        if not must_be_elsewhere(command):
            typist.type(command)


def shown(page: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the commands of a page that stand behind ``$``, with the lines below that they print."""
    for block in blocks(page, "text"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, *lines = part.splitlines()
            yield shlex.split(first), lines


def test_commands_print_what_pages_show_below_them(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pages = [(command, lines) for page in TUTORIALS for command, lines in shown(page)]
    assert pages
    for (_, *words), lines in pages:
        _, out, err = cli(*words)
        printed = (out + err).splitlines()
        assert len(printed) == len(lines), words
        for line, said in zip(lines, printed, strict=True):
            assert said.startswith(line.removesuffix("...")) if line.endswith("...") else said == line
    assert not (tmp_path / "runs").exists()


def test_a_command_that_fails_and_a_file_that_raises_are_seen(cli: Cli, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        f'```yaml title="a/b.yaml"\n{SMALL}```\n```\niclgd run gone.yaml  # no such file\nmake install\n```\n'
    )
    write_files(page, tmp_path)
    assert (tmp_path / "a" / "b.yaml").read_text() == SMALL
    assert typed(page) == [["iclgd", "run", "gone.yaml"], ["make", "install"]]
    assert [must_be_elsewhere(command) for command in typed(page)] == [False, True]
    with pytest.raises(AssertionError, match=r"gone\.yaml"):
        Typist(cli).type(typed(page)[0])
    (tmp_path / "raises.py").write_text("raise KeyError")
    with pytest.raises(KeyError):
        Typist(cli).type(["python", str(tmp_path / "raises.py")])

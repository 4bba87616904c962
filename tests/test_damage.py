"""Files of a stopped run that are damaged: it goes on to the same numbers, or says in one line what is broken."""

import random
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from iclgd.tracking.run_directory import RunDirectory
from tests.processes import signal_now
from tests.test_experiment import Cli, numbers, run_directory
from tests.test_experiment_stopping import _own_handlers, at_step, only_run  # noqa: F401

SHORT = ["trainer.max_steps=6", "evaluation.every_num_steps=2", "evaluation.num_tasks=20", "training.batch_size=8"]
STOPPED_AT, MAX_STEPS = 4, 6


@pytest.fixture
def stopped(cli: Cli, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """Return a run that was stopped at step 4 of 6; the same one undisturbed is ``tmp_path / "whole"``."""
    import signal

    whole = run_directory(cli("run", small_config, *SHORT)[1])
    whole.path.rename(tmp_path / "whole")
    with monkeypatch.context() as patch:
        at_step(STOPPED_AT, lambda: signal_now(signal.SIGTERM), patch)
        assert cli("run", small_config, *SHORT)[0] == 130
    return only_run(tmp_path)


def results(directory: RunDirectory) -> tuple[object, object, bytes]:
    """Return all numbers of a complete run but its speed."""
    weights = (directory.path / "weights.safetensors").read_bytes()
    return numbers(directory), directory.read_metrics(), weights


def flip(path: Path, place: int) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def damaged(path: Path, how: str, chance: random.Random) -> None:
    """Damage a file in one of four ways."""
    size = path.stat().st_size
    if how == "flip" and size:
        flip(path, chance.randrange(8 * size))
    elif how == "cut" and size:
        path.write_bytes(path.read_bytes()[: chance.randrange(size)])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "remove":
        path.unlink()


def one_line_at_most(err: str) -> bool:
    """Say whether there is no trace, and nothing but lines of ours."""
    return "Traceback" not in err and all(re.match(r"[\w/~.].*", line) for line in err.splitlines())


def try_damages(cli: Cli, stopped: RunDirectory, tmp_path: Path, number: int) -> Counter[str]:
    """Damage copies of a stopped run, each in one place, and go on; count how that ends."""
    expected = results(RunDirectory(tmp_path / "whole"))
    pristine = tmp_path / "pristine"
    shutil.copytree(stopped.path, pristine)
    files = sorted(path.relative_to(pristine) for path in pristine.rglob("*") if path.is_file())
    chance = random.Random(0)
    ends: Counter[str] = Counter()
    for index in range(number):
        shutil.rmtree(stopped.path)
        shutil.copytree(pristine, stopped.path)
        file, how = files[index % len(files)], ("flip", "flip", "cut", "empty", "remove")[index // len(files) % 5]
        damaged(stopped.path / file, how, chance)
        code, _, err = cli("resume", stopped.path)
        what = f"{index}: {how} {file}: exit code {code}\n{err}"
        assert one_line_at_most(err), what
        if code == 0:
            is_edit = "trainer.max_steps was" in err  # which no checksum tells from one bit
            assert is_edit or results(RunDirectory(stopped.path)) == expected, what
            assert len(RunDirectory(stopped.path).all_checkpoints()) == 1, what
            ends["told" if "damaged" in err or "put back" in err else "same"] += 1
        else:
            assert code in (1, 2), what
            assert err.count("\n") == 1, what
            ends["refused"] += 1
    return ends


def test_a_damaged_run_goes_on_to_the_same_numbers_or_says_why_not(
    cli: Cli, stopped: RunDirectory, tmp_path: Path
) -> None:
    ends = try_damages(cli, stopped, tmp_path, 15)
    assert ends["same"] + ends["told"] > 7, ends


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_run_damaged_at_500_places(cli: Cli, stopped: RunDirectory, tmp_path: Path) -> None:
    ends = try_damages(cli, stopped, tmp_path, 500)
    print(dict(ends))  # noqa: T201
    assert sum(ends.values()) == 500
    assert ends["same"] + ends["told"] > 250

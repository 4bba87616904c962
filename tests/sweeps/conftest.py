"""Sweeps of quick trials (see quick_trials), made without the seconds that checking a config takes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from iclgd.sweeps.file import schema
from iclgd.sweeps.trials.folder import SweepFolder, SweepOptions
from iclgd.sweeps.trials.plan import plan
from iclgd.sweeps.trials.search import draw
from iclgd.sweeps.trials.storage import new_storage
from tests.conftest import ROOT

MakeSweep = Callable[..., SweepFolder]


def start_sweep(arguments: tuple[object, ...], folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start ``iclgd sweep`` in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "iclgd.cli", "sweep", *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,  # pytest-xdist ignores it
    )


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record"


@pytest.fixture
def quick_environment(record: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent / "quick_trials"),
        "QUICK_RECORD": str(record),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def make_sweep(tmp_path: Path) -> MakeSweep:
    """Write a sweep file and make its folder as ``iclgd sweep`` does, but without checking the config."""

    def make(text: str, count: int = 0, path: Path | None = None, overrides: tuple[str, ...] = ()) -> SweepFolder:
        file = tmp_path / "quick.yaml"
        file.write_text(text)
        sweep = schema.read(file)
        points = {"grid": lambda: list(sweep.grid()), "random": lambda: draw(sweep, count, 0)}
        planned = points.get(sweep.method, lambda: [{}] * count)()
        options = SweepOptions("quick", "abc123", "local", str(ROOT), overrides)

        def fill(folder: Path) -> None:
            with new_storage(None, folder / "journal.log") as storage:
                plan(storage, sweep, options, planned)

        return SweepFolder.create(path or tmp_path / "folder", text, options, fill)

    return make

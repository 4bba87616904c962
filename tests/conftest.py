import gc
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's libraries are imported: no test asks the network

import pytest
import torch
from PIL import Image

from iclgd.runtime.signals import stop_requests

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ROOT = Path(__file__).parents[1]
SMALL = """\
experiment: regression
task: {num_context: 4, input_dim: 3}
training: {batch_size: 64}
evaluation: {every_num_steps: 20, num_tasks: 200, gd_plus_plus: optimal}
trainer: {max_steps: 50, accelerator: cpu}
tracking: {mode: disabled}
"""


def pytest_report_header() -> str:
    return f"browser: {CHROMIUM or 'no Chromium found, tests marked browser are deselected (apt-get install chromium)'}"


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Import all there is without the garbage collector, which would look at it again and again; and never after."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if CHROMIUM is None:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("browser")])
        items[:] = [item for item in items if not item.get_closest_marker("browser")]


@pytest.fixture(autouse=True)
def _own_corner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test's runs, and what W&B writes, in its own folder; no account, no server."""
    monkeypatch.setenv("ICLGD_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("NETRC", "WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-files"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _not_asked_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the signal of an earlier test, which a process hears once and for good."""
    monkeypatch.setattr(stop_requests, "is_requested", False)


@pytest.fixture
def quick_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures, but lay out no pixels, which takes most of a small run's time: for tests of everything else."""
    file = io.BytesIO()
    Image.new("L", (4, 4)).save(file, "PNG")
    monkeypatch.setattr("iclgd.report.figures.image", lambda figure, ending: file.getvalue())


@pytest.fixture
def quick_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scan few of GD++'s 250 published learning rates, which would take longer than all else of a run of few steps."""
    from iclgd.analysis import gd_plus_plus_tuning

    monkeypatch.setattr(gd_plus_plus_tuning, "SCAN", gd_plus_plus_tuning.SCAN[::25])


@pytest.fixture
def small_config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; return its exit code, standard output and standard error."""
    from iclgd.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit_:  # argparse
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run

"""A report of as many runs as a group makes in a year, as a whole process."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.review.factory import make_run

CONFIGS = ("one_layer", "two_layer", "embedded")
RATES = 5  # settings of a config; all else are seeds
MIB = 2**20


def make_runs(root: Path, number: int) -> None:
    for index in range(number):
        name = CONFIGS[index % len(CONFIGS)]
        seed, rate = index // len(CONFIGS) // RATES, index // len(CONFIGS) % RATES
        key = "finetune" if name == "embedded" else "training"
        changes = {"seed": seed, f"{key}.learning_rate": (rate + 1) / 1000}
        if name == "embedded":
            changes["demonstrations.seed"] = seed
        make_run(root, name, f"20260101-{index:06d}-{index:06x}", changes=changes)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "seconds", "megabytes"), [(200, 10.0, 5.0), (1000, 60.0, 10.0)])
def test_a_report_of_many_runs_takes_seconds(number: int, seconds: float, megabytes: float, tmp_path: Path) -> None:
    make_runs(tmp_path / "runs", number)
    page = tmp_path / "page.html"
    start = time.perf_counter()
    command = [sys.executable, "-m", "iclgd.cli", "report", str(tmp_path / "runs"), "--out", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, str(page)), done.stderr
    assert took < seconds
    assert page.stat().st_size < megabytes * MIB

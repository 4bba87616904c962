"""The sweeps that come with the project."""

import subprocess
import sys
from pathlib import Path

import pytest

from iclgd.sweeps.file import checking, schema
from tests.conftest import ROOT

SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))
OF_SHIPPED_MODELS = [path for path in SWEEPS if "laptop" in path.stem and not path.stem.startswith("six_tasks")]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_point_can_be_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert path.read_text().startswith("# ")
    sweep = schema.read(path)
    assert sweep.metric is not None
    given = ["model.name=gpt2"] * path.stem.startswith("six_tasks")  # of any model, which has to be given
    points = list(sweep.grid())
    assert len(points) == sweep.num_points <= 120
    checking.check(sweep, points, given)


def test_each_that_takes_hours_has_a_twin_for_a_laptop_on_the_same_keys() -> None:
    names = {path.stem for path in SWEEPS} - {"smoke", "momentum_wikitext2", "few_shot"}
    assert len(names) == 10
    for name in names:
        other = name.removesuffix("_laptop") if name.endswith("_laptop") else f"{name}_laptop"
        keys = [
            {parameter.key for parameter in schema.read(ROOT / "sweeps" / f"{stem}.yaml").parameters}
            for stem in (name, other)
        ]
        assert keys[0] == keys[1]


@pytest.mark.slow
@pytest.mark.parametrize("path", OF_SHIPPED_MODELS, ids=lambda path: path.stem)
def test_twins_run(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "iclgd.cli", "sweep", str(path), "--workers", "2", "--dir", str(tmp_path / "s")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "8 of 8 trials done" in done.stdout

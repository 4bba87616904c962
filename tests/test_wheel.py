import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import iclgd
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    return Path(built)


def test_the_whole_package_and_what_is_found_by_name_are_in_the_wheel(wheel: Path) -> None:
    assert wheel.name == f"iclgd-{iclgd.__version__}-py3-none-any.whl"
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert "iclgd/py.typed" in inside
    for top, ending in (("configs", "yaml"), ("sweeps", "yaml"), ("papers", "yaml"), ("benchmarks", "py")):
        for path in (ROOT / top).rglob(f"*.{ending}"):
            assert f"iclgd/assets/{path.relative_to(ROOT)}" in inside
    for path in (ROOT / "iclgd").rglob("*.*"):  # what .gitignore names is left out, wherever it stands
        assert str(path.relative_to(ROOT)) in inside or path.suffix == ".pyc", path


@pytest.mark.slow
def test_an_installed_wheel_runs_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    environment, here = tmp_path / "environment", tmp_path / "here"
    here.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    # The libraries' folder is a path entry only: .pth files in it, such as a checkout's, are not read.
    (packages / "libraries.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*install, wheel], check=True)

    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "ICLGD_RUNS")}

    def run(*arguments: str) -> list[str]:
        command = [str(environment / "bin" / "iclgd"), *arguments]
        done = subprocess.run(command, cwd=here, env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    where = subprocess.run(
        [python, "-c", "import iclgd; print(iclgd.__file__)"], cwd=here, env=clean, capture_output=True
    )
    assert Path(where.stdout.decode().strip()).is_relative_to(packages)
    assert run("--version") == [f"iclgd {iclgd.__version__}"]
    listed = run("list")
    assert [line for line in listed if line.startswith("config ") and " one_layer " in line]
    assert [line for line in listed if line.startswith("sweep ") and " smoke " in line]
    assert run("run", "debug", "tracking.mode=disabled")[-1].startswith(f"{here}/runs/debug/")
    assert run("run", "embedded", "task.num_queries=64", "tracking.mode=disabled")[-1].startswith(
        f"{here}/runs/embedded/"
    )
    assert any("4 of 4 trials done" in line for line in run("sweep", "smoke", "--workers", "2", "--engine", "local"))
    assert run("bench", "text", "--help")[0].startswith("usage: iclgd bench text")

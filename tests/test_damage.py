"""Files of a stopped run that are damaged: it goes on to the same numbers, or says in one line what is broken."""

import contextlib
import io
import random
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from iclgd.cli import main
from iclgd.runtime.signals import STOP_SIGNALS, stop_requests
from iclgd.tracking.run_directory import RunDirectory
from tests.conftest import SMALL
from tests.processes import signal_now
from tests.test_experiment import Cli, numbers, run_directory
from tests.test_experiment_stopping import _own_handlers, at_step, only_run  # noqa: F401

pytestmark = pytest.mark.usefixtures("quick_images")
SHORT = ["trainer.max_steps=6", "evaluation.every_num_steps=2", "evaluation.num_tasks=20", "training.batch_size=8"]
STOPPED_AT, MAX_STEPS = 4, 6


@pytest.fixture(scope="module")
def both_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run, ``whole``, and in ``runs`` the same one stopped at step 4 of 6."""
    folder = tmp_path_factory.mktemp("both")
    config = folder / "small.yaml"
    config.write_text(SMALL)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *STOP_SIGNALS)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICLGD_RUNS", str(folder / "runs"))
        patch.setattr("iclgd.report.figures.image", lambda figure, ending: b"")
        patch.setattr(stop_requests, "is_requested", False)
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
            assert main(["run", str(config), *SHORT]) == 0
            run_directory(out.getvalue()).path.rename(folder / "whole")
            at_step(STOPPED_AT, lambda: signal_now(signal.SIGTERM), patch)
            assert main(["run", str(config), *SHORT]) == 130
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return folder


@pytest.fixture
def stopped(both_runs: Path, tmp_path: Path) -> RunDirectory:
    """Return a run that was stopped at step 4 of 6; the same one undisturbed is ``tmp_path / "whole"``."""
    for name in ("whole", "runs"):
        shutil.copytree(both_runs / name, tmp_path / name)
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
    ends = try_damages(cli, stopped, tmp_path, 8)
    assert ends["same"] + ends["told"] > 3, ends


def resume_after(change: Callable[[RunDirectory], object], cli: Cli, stopped: RunDirectory) -> tuple[int, str]:
    """Change a copy of a stopped run in some way and go on; return the exit code and what is said."""
    pristine = stopped.path.with_name(".pristine")
    if not pristine.exists():
        shutil.copytree(stopped.path, pristine)
    shutil.rmtree(stopped.path)
    shutil.copytree(pristine, stopped.path)
    change(stopped)
    code, _, err = cli("resume", stopped.path)
    assert one_line_at_most(err), err
    return code, err


def edit(old: str, new: str) -> Callable[[RunDirectory], object]:
    def change(directory: RunDirectory) -> None:
        text = directory.config_path.read_text()
        assert old in text
        directory.config_path.write_text(text.replace(old, new))

    return change


def last(do: Callable[[Path], object]) -> Callable[[RunDirectory], object]:
    return lambda directory: do(directory.checkpoints / f"step={STOPPED_AT}.ckpt")


def both(do: Callable[[Path], object]) -> Callable[[RunDirectory], object]:
    return lambda directory: [do(path) for path in directory.all_checkpoints()]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_the_last_whole_checkpoint_is_taken(cli: Cli, stopped: RunDirectory, tmp_path: Path) -> None:
    expected = results(RunDirectory(tmp_path / "whole"))
    assert [path.name for path in stopped.all_checkpoints()] == ["step=4.ckpt", "step=2.ckpt"]
    middle = 4 * (stopped.checkpoints / "step=4.ckpt").stat().st_size
    for damage in (cut, lambda path: path.write_bytes(b"\0" * 5000), lambda path: flip(path, middle)):
        code, err = resume_after(last(damage), cli, stopped)
        assert code == 0, err
        first, second, *_ = err.splitlines()
        assert first.startswith(f"{stopped.checkpoints / 'step=4.ckpt'}: damaged (")
        assert second == "resuming from step 2"
        assert results(stopped) == expected
        assert [path.name for path in stopped.checkpoints.iterdir()] == ["step=6.ckpt"]
    code, err = resume_after(both(cut), cli, stopped)
    assert (code, err.count("\n")) == (2, 1)
    assert "no checkpoint is whole" in err
    assert "to start over, remove that folder" in err


def test_foreign_names_are_passed_over(cli: Cli, stopped: RunDirectory, tmp_path: Path) -> None:
    names = ["step=4 (copy).ckpt", ".DS_Store", "step=x.ckpt", "step=007.ckpt", "last.ckpt"]

    def add(directory: RunDirectory) -> None:
        for name in names:
            shutil.copy(directory.checkpoints / "step=2.ckpt", directory.checkpoints / name)

    code, err = resume_after(add, cli, stopped)
    assert (code, err.splitlines()[0]) == (0, "resuming from step 4")
    assert results(stopped) == results(RunDirectory(tmp_path / "whole"))
    assert sorted(path.name for path in stopped.checkpoints.iterdir()) == sorted([*names, "step=6.ckpt"])
    rename = last(lambda path: path.rename(path.with_name("step=5.ckpt")))
    code, err = resume_after(rename, cli, stopped)
    assert (code, err.splitlines()[1]) == (0, "resuming from step 2")
    assert "step=5.ckpt: damaged (it is of step 4)" in err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("num_layers: 1", "num_layers: 2", "model.num_layers was 1 in step=4.ckpt, and is 2 now"),
        ("learning_rate: 0.001", "learning_rate: 0.002", "training.learning_rate was 0.001"),
        ("max_steps: 6", "max_steps: 3", "the run is at step 4 already"),
        ("precision: 32-true", "precision: 64-true", "trainer.precision was '32-true'"),
        ("seed: 0", "seed: 1", "seed was 0"),
    ],
)
def test_a_config_that_was_edited_is_refused(cli: Cli, stopped: RunDirectory, old: str, new: str, said: str) -> None:
    code, err = resume_after(edit(old, new), cli, stopped)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err
    assert [path.name for path in stopped.all_checkpoints()] == ["step=4.ckpt", "step=2.ckpt"]


def test_what_may_change_does(cli: Cli, stopped: RunDirectory, tmp_path: Path) -> None:
    code, err = resume_after(edit("num_threads: 1", "num_threads: 2"), cli, stopped)
    assert code == 0
    assert "trainer.num_threads was 1 in step=4.ckpt, and is 2 now" in err
    assert numbers(stopped) == pytest.approx(numbers(RunDirectory(tmp_path / "whole")), rel=1e-3)
    code, err = resume_after(edit("max_steps: 6", "max_steps: 8"), cli, stopped)
    assert code == 0
    assert [record["step"] for record in stopped.read_metrics()] == [0, 2, 4, 6, 8]


def test_small_files_are_put_back_or_made_again(cli: Cli, stopped: RunDirectory, tmp_path: Path) -> None:
    expected = results(RunDirectory(tmp_path / "whole"))

    def spoil(name: str, content: bytes) -> Callable[[RunDirectory], object]:
        def change(directory: RunDirectory) -> None:
            (directory.path / name).parent.mkdir(exist_ok=True)
            (directory.path / name).write_bytes(content)

        return change

    metrics = (stopped.path / "metrics.jsonl").read_bytes()
    one_line, *_ = metrics.splitlines(keepends=True)
    changes = {
        "metrics.jsonl: damaged: of 3 lines up to step 4 only 2": spoil("metrics.jsonl", b"\0" * 40 + metrics[40:]),
        "metrics.jsonl: damaged: of 3 lines up to step 4 only 1": spoil("metrics.jsonl", one_line),
        "summary.json: damaged (not JSON)": spoil("summary.json", b'{"loss": '),
        "summary.json: empty": spoil("summary.json", b""),
        "summary.json: not of this run": spoil("summary.json", b'{"loss/transformer": 0.5}'),
        "environment.json: empty": spoil("environment.json", b""),
        "config.yaml: empty or overwritten; put back": spoil("config.yaml", b"\0" * 10),
        "analysis/notes.json: not of this run": spoil("analysis/notes.json", b'{"a": 1}'),
    }
    for said, change in changes.items():
        code, err = resume_after(change, cli, stopped)
        assert code == 0, (said, err)
        assert said in err
        assert results(stopped) == expected, said


def test_without_a_checkpoint_the_config_must_be_the_one_of_the_beginning(cli: Cli, stopped: RunDirectory) -> None:
    def change(directory: RunDirectory) -> None:
        shutil.rmtree(directory.checkpoints)
        edit("learning_rate: 0.001", "learning_rate: 0.002")(directory)

    code, err = resume_after(change, cli, stopped)
    assert (code, err.count("\n")) == (2, 1)
    assert "config.yaml: has changed since the run began" in err


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_run_damaged_at_500_places(cli: Cli, stopped: RunDirectory, tmp_path: Path) -> None:
    ends = try_damages(cli, stopped, tmp_path, 500)
    print(dict(ends))  # noqa: T201
    assert sum(ends.values()) == 500
    assert ends["same"] + ends["told"] > 250


def test_analyses_are_not_made_from_damaged_weights(cli: Cli, small_config: Path) -> None:
    chosen = ["analysis.run=[out_of_distribution]", "analysis.num_tasks=20"]
    directory = run_directory(cli("run", small_config, *SHORT, *chosen)[1])
    before = directory.read_analyses()
    assert list(before) == ["out_of_distribution"]
    weights = directory.path / "weights.safetensors"
    whole = weights.read_bytes()
    (directory.path / "analysis" / "out_of_distribution.json").unlink()
    flip(weights, 8 * (len(whole) - 3))
    code, _, err = cli("resume", directory.path)
    assert code == 0, err
    assert "weights.safetensors: damaged (not the checksum that environment.json has); made again" in err
    assert weights.read_bytes() == whole
    assert directory.read_analyses() == before
    (directory.path / "analysis" / "out_of_distribution.json").unlink()
    edit("num_layers: 1", "num_layers: 2")(directory)
    code, _, err = cli("resume", directory.path)
    assert (code, err.count("\n")) == (2, 1)
    assert "model.num_layers was 1 in step=6.ckpt, and is 2 now" in err


@pytest.mark.parametrize("how", ["remove", "empty", "cut", "flip"])
def test_the_files_of_a_complete_run_are_put_back(cli: Cli, small_config: Path, how: str) -> None:
    directory = run_directory(cli("run", small_config, *SHORT)[1])
    expected = results(directory)
    for name in ("metrics.jsonl", "weights.safetensors"):
        damaged(directory.path / name, how, random.Random(1))
        told: list[str] = []
        directory.read_metrics(told.append)
        assert len(told) >= 1 or name != "metrics.jsonl"
        code, _, err = cli("resume", directory.path)
        assert code == 0, err
        assert name in err.splitlines()[0]
        assert results(directory) == expected
    assert cli("resume", directory.path)[2] == ""

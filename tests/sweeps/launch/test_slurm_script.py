import subprocess
from pathlib import Path

import pytest

from iclgd.sweeps.launch.slurm_script import SlurmJobs, script
from iclgd.sweeps.workers.slurm_commands import SlurmError


def text(jobs: SlurmJobs, folder: Path = Path("/sweeps/a"), **environment: str) -> str:
    return script(jobs, folder, "/venv/bin/python", Path("/work"), environment, ["--grace", "60"])


def sbatch_options(jobs: SlurmJobs) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text(jobs).splitlines() if line.startswith("#SBATCH ")]


def test_each_worker_is_an_array_task_with_its_nodes_and_gpus() -> None:
    options = sbatch_options(SlurmJobs(workers=3, nodes_per_trial=2, gpus_per_node=4, notice=90))
    assert {"--array=0-2", "--nodes=2", "--ntasks-per-node=4", "--gres=gpu:4", "--signal=B:USR1@90"} <= set(options)
    assert {"--requeue", "--open-mode=append", "--output=/sweeps/a/logs/worker-%a.log", "--chdir=/work"} <= set(options)


def test_without_gpus_there_is_one_process_per_node() -> None:
    options = sbatch_options(SlurmJobs(workers=1))
    assert "--ntasks-per-node=1" in options
    assert not any("gpu" in option for option in options)


def test_user_options_come_last_and_a_kind_of_gpu_replaces_ours() -> None:
    options = sbatch_options(SlurmJobs(1, gpus_per_node=2, options=("--gres=gpu:a100:2,disk:1", "--comment=a b")))
    assert options[-2:] == ["--gres=gpu:a100:2,disk:1", '--comment="a b"']
    assert "--gres=gpu:2" not in options


@pytest.mark.parametrize(("restarts", "life"), [({}, "0"), ({"SLURM_RESTART_COUNT": "2"}, "2")], ids=["first", "third"])
@pytest.mark.parametrize("folder", ["plain", "with space", "quo\"te'$HOME`id`", "percent%a", "#hash;(x)&"])
def test_shell_reads_the_script_as_meant(tmp_path: Path, folder: str, restarts: dict[str, str], life: str) -> None:
    """The script is run by the shell itself, with a program that prints its arguments in the place of python."""
    place = tmp_path / folder
    place.mkdir()
    program = place / "print arguments"
    program.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$WANDB_PROJECT" "$@"\n')
    program.chmod(0o755)
    (tmp_path / "script").write_text(
        script(SlurmJobs(2), place, str(program), place, {"WANDB_PROJECT": "it's $1"}, ["--grace", "60"])
    )
    environment = {"PATH": "/usr/bin:/bin", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1", **restarts}
    run = subprocess.run(["sh", tmp_path / "script"], env=environment, capture_output=True, text=True, check=True)
    work = ["-m", "iclgd.cli", "sweep", "work", str(place), "--grace", "60"]
    worker = ["--worker", f"slurm-7-1-{life}", "--position", "1"]
    assert run.stdout.splitlines() == [str(place), "it's $1", *work, *worker]


@pytest.mark.parametrize(("cpus", "passed_on"), [("8", "8"), (None, "")])
def test_trials_have_the_cores_of_the_job(tmp_path: Path, cpus: str | None, passed_on: str) -> None:
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "$SRUN_CPUS_PER_TASK"\n')
    program.chmod(0o755)
    (tmp_path / "script").write_text(script(SlurmJobs(1), tmp_path, str(program), tmp_path, {}))
    environment = {"PATH": "/usr/bin:/bin"} | ({"SLURM_CPUS_PER_TASK": cpus} if cpus else {})
    run = subprocess.run(["sh", tmp_path / "script"], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == passed_on


def test_worker_does_not_start_where_its_directory_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text(script(SlurmJobs(1), tmp_path, "/bin/echo", tmp_path / "missing", {}))
    run = subprocess.run(["sh", path], capture_output=True, text=True)
    assert run.returncode != 0
    assert run.stdout == ""


def test_percent_signs_of_the_folder_are_no_placeholders_of_slurm() -> None:
    assert "--output=/sweeps/100%%a/logs/worker-%a.log" in text(SlurmJobs(1), Path("/sweeps/100%a"))


@pytest.mark.parametrize("folder", ["back\\slash", "new\nline"])
def test_paths_that_slurm_cannot_read_are_refused(folder: str) -> None:
    with pytest.raises(SlurmError, match="backslash or a control character"):
        text(SlurmJobs(1), Path("/sweeps") / folder)


def test_script_says_what_workers_go_by_but_no_secrets() -> None:
    written = text(SlurmJobs(1), WANDB_MODE="offline", WANDB_API_KEY="hush", HF_TOKEN="hush", EDITOR="vi")
    assert "export WANDB_MODE=offline\n" in written
    assert "hush" not in written
    assert "EDITOR" not in written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-p gpu",), "written like --partition=gpu"),
        (("--partition gpu",), "written like --partition=gpu"),
        (("--comment=a\n#SBATCH --nodes=9",), "written like --partition=gpu"),
        (("--array=0-9",), "--array cannot be chosen, as it follows from --workers"),
        (("--nodes=2",), "--nodes cannot be chosen, as it follows from --nodes-per-trial"),
        (("--arr=0-9",), "--array cannot be chosen"),
        (("--gpus-per-task=1",), "follows from --gpus-per-node"),
        (("--gpu-bind=single:1",), "follows from --gpus-per-node"),
        (("--no-requeue",), "follows from what sweeps need"),
        (("--gres=gpu:2",), "asks for 2 GPUs, but --gpus-per-node is 0"),
        (("--time=4",), "must be at least 5 minutes"),
        (("--time=0-00:04:00",), "must be at least 5 minutes"),
    ],
)
def test_options_that_cannot_be_had_are_named(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(SlurmError, match=message) as error:
        SlurmJobs(1, options=options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "option",
    ["--time=5", "--time=0", "--time=1-0", "--time=UNLIMITED", "--gres=disk:1", "--gres-flags=enforce-binding"],
)
def test_options_that_leave_a_worker_its_work_are_taken(option: str) -> None:
    assert option in sbatch_options(SlurmJobs(1, options=(option,)))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"workers": 0}, "--workers"),
        ({"workers": 1, "nodes_per_trial": 0}, "--nodes-per-trial"),
        ({"workers": 1, "gpus_per_node": -1}, "--gpus-per-node"),
        ({"workers": 1, "notice": 0}, "notice"),
    ],
)
def test_numbers_out_of_range_are_named(values: dict[str, int], name: str) -> None:
    with pytest.raises(SlurmError, match=f"{name}.* must be"):
        SlurmJobs(**values)

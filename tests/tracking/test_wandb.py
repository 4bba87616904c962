"""W&B's real client against a stand-in for its server."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iclgd.checks import InputError
from iclgd.tracking import mirror as mirrors
from iclgd.tracking.environment import describe_environment
from iclgd.tracking.mirror import Mirror
from iclgd.tracking.run_directory import RunDirectory
from iclgd.tracking.track import track
from iclgd.tracking.wandb import TrackingConfig, TrackingError, resolve_mode
from tests.tracking.copied_rows import lines
from tests.wandb_server import WandbServer

pytestmark = pytest.mark.usefixtures("quick_images")
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as server:
        yield server


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch, server: WandbServer) -> str:
    """Configure a key and the stand-in's address."""
    key = secrets.token_hex(20)
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    return key


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_without_a_key_it_is_offline() -> None:
    assert resolve_mode(TrackingConfig()) == ("offline", "no API key is configured")


def test_with_a_key_and_an_answer_it_is_online(key: str, server: WandbServer) -> None:
    assert resolve_mode(TrackingConfig()) == ("online", f"{server.url} answers")


def test_with_a_key_in_netrc_it_is_online(server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    host = server.url.removeprefix("http://")
    (tmp_path / ".netrc").write_text(f"machine {host}\n  login user\n  password {secrets.token_hex(20)}\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert resolve_mode(TrackingConfig())[0] == "online"


def test_without_an_answer_it_is_offline(key: str, server: WandbServer) -> None:
    server.stop()
    assert resolve_mode(TrackingConfig()) == ("offline", f"no answer from {server.url}")
    assert resolve_mode(TrackingConfig(mode="online"))[0] == "offline"


def test_online_without_a_key_is_refused() -> None:
    with pytest.raises(TrackingError, match=r"tracking\.mode=online needs an API key: run 'wandb login'"):
        resolve_mode(TrackingConfig(mode="online"))


@pytest.mark.parametrize(("mode", "variable", "expected"), [
    ("auto", "disabled", "disabled"),
    ("auto", "offline", "offline"),
    ("offline", "disabled", "offline"),
    ("disabled", "online", "disabled"),
])  # fmt: skip
def test_the_environment_stands_in_for_auto(
    mode: str, variable: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", variable)
    assert resolve_mode(TrackingConfig(mode=mode))[0] == expected


def test_a_run_arrives_whole_and_no_key_lands_in_a_file(
    cli: Cli, small_config: Path, tmp_path: Path, key: str, server: WandbServer
) -> None:
    code, out, err = cli("run", small_config, "tracking={mode: online, project: p, tags: [t], group: g}")
    assert code == 0
    assert f"tracking: W&B online ({server.url} answers)" in err
    directory = RunDirectory(Path(out.splitlines()[-1]))
    (run,) = server.runs.values()
    assert (run.name, run.project, run.group, list(run.tags)) == (directory.path.name, "p", "g", ["t"])
    assert run.config["trainer"]["max_steps"] == 50
    assert run.config["training"]["gradient_clip"] == 0.001
    summary = directory.read_summary()
    assert summary is not None
    assert {name: run.summary[name] for name in summary} == pytest.approx(summary)
    rows = lines(run)
    assert [row["trainer/global_step"] for row in rows] == [0, 20, 40, 50]
    assert [row["loss/transformer"] for row in rows] == pytest.approx(
        [record["loss/transformer"] for record in directory.read_metrics()]
    )
    assert {path.split("/")[-1].split("_")[0] for path in run.files if path.endswith(".png")} == {
        "learning",
        "alignment",
        "weights",
    }
    assert run.state == "finished"
    assert server.unknown_operations == []
    assert files_with(key, tmp_path) == []
    assert key not in out + err


def test_losing_the_server_loses_nothing(
    cli: Cli, small_config: Path, key: str, server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iclgd.runtime.recording import MetricsRecorder

    record = MetricsRecorder.on_validation_end

    def lose_the_server(self: MetricsRecorder, trainer: object, module: object) -> None:
        record(self, trainer, module)  # type: ignore[arg-type]
        server.stop()

    monkeypatch.setattr(MetricsRecorder, "on_validation_end", lose_the_server)
    monkeypatch.setattr(mirrors, "SECONDS_TO_START", 5.0)
    monkeypatch.setattr(mirrors, "SECONDS_TO_FINISH", 2.0)
    code, out, err = cli("run", small_config, "tracking={mode: auto, project: p}")
    assert code == 0
    directory = RunDirectory(Path(out.splitlines()[-1]))
    summary = directory.read_summary()
    assert summary is not None
    assert len(directory.read_metrics()) == 4

    command = err.strip().partition("upload later with: ")[2].split()
    assert command == ["iclgd", "track", str(directory.path)]
    with WandbServer() as other:
        monkeypatch.setenv("WANDB_BASE_URL", other.url)
        assert cli(*command[1:]) == (0, "1 uploaded\n", "")
        (run,) = other.runs.values()
        assert (run.name, run.project, run.state) == (directory.path.name, "p", "finished")
        assert {name: run.summary[name] for name in summary} == pytest.approx(summary)
        rows = lines(run)
        assert [(row["trainer/global_step"], row["loss/transformer"]) for row in rows] == [
            (record["step"], pytest.approx(record["loss/transformer"])) for record in directory.read_metrics()
        ]
        assert any(path.endswith(".png") for path in run.files)
        assert other.unknown_operations == []


def record(mode: str, tracking: str = "{project: p}") -> RunDirectory:
    """Record a run as an experiment does."""
    with Mirror(TrackingConfig(mode=mode)) as mirror:
        mirror.resolve()
        directory = RunDirectory.create("small", f"seed: 1\ntracking: {tracking}\n", describe_environment("cpu"))
        mirror.begin(directory)
        directory.append_metrics(0, {"loss": 1.0})
        directory.write_summary({"loss": 0.5})
        mirror.finish()
    return directory


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_environment_of_a_sweep_reaches_the_run(
    mode: str, key: str, server: WandbServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {
        "WANDB_SWEEP_ID": "sweep7",
        "WANDB_RUN_ID": "this-run",
        "WANDB_RUN_GROUP": "smoke",
        "WANDB_JOB_TYPE": "trial",
        "WANDB_TAGS": "sweep, own",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    directory = record(mode, "{project: p, tags: [own, two]}")
    if mode == "offline":
        assert not server.runs
        monkeypatch.setenv("WANDB_RUN_ID", "another-run")  # of an agent in whose terminal somebody uploads this one
        monkeypatch.setenv("WANDB_SWEEP_ID", "another-sweep")
        for name in ("WANDB_RUN_GROUP", "WANDB_JOB_TYPE", "WANDB_TAGS"):
            monkeypatch.delenv(name)
        assert str(track([directory.path])) == "1 uploaded"
    (run,) = server.runs.values()
    assert (run.name, run.project, run.sweep) == (directory.path.name, "p", "sweep7")
    assert (run.group, run.job_type, list(run.tags)) == ("smoke", "trial", ["own", "two", "sweep"])
    assert (run.summary["loss"], run.state) == (0.5, "finished")


def test_the_project_of_a_sweep_is_the_servers_and_the_group_is_the_configs(
    key: str, server: WandbServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = {"WANDB_SWEEP_ID": "sweep7", "WANDB_PROJECT": "of-the-sweep", "WANDB_RUN_GROUP": "smoke"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    directory = record("online", "{group: own}")
    (run,) = server.runs.values()
    assert (run.project, run.sweep, run.group) == ("of-the-sweep", "sweep7", "own")
    assert str(track([directory.path])) == "1 there already"  # a run in progress marks what has arrived, too


@pytest.mark.parametrize(("variable", "value", "message"), [
    ("WANDB_RUN_ID", "a:b", "WANDB_RUN_ID must be"),
    ("WANDB_TAGS", "x" * 65, "W&B's settings"),
])  # fmt: skip
@pytest.mark.parametrize("mode", ["online", "auto"])
def test_settings_that_cannot_be_read_are_one_line(
    mode: str, variable: str, value: str, message: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=message) as error:
        resolve_mode(TrackingConfig(mode=mode))
    assert "\n" not in str(error.value)


def test_a_refused_key_means_offline(
    cli: Cli, small_config: Path, key: str, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "too-short")
    code, _, err = cli("run", small_config, "tracking.mode=auto")
    assert code == 0
    assert "tracking: W&B offline (" in err
    assert "too-short" not in err


def test_offline_says_how_to_upload(cli: Cli, small_config: Path) -> None:
    code, out, err = cli("run", small_config, "tracking.mode=offline")
    assert code == 0
    run_directory = out.splitlines()[-1]
    assert f"tracking: W&B offline (as configured); upload later with: iclgd track {run_directory}\n" in err
    assert len(list(Path(run_directory).glob("wandb/offline-run-*/*.wandb"))) == 1


def test_disabled_writes_nothing_of_wandb(
    cli: Cli, small_config: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = cli("run", small_config)
    assert code == 0
    assert "W&B" not in err
    run_directory = Path(out.splitlines()[-1])
    assert not (run_directory / "wandb").exists()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    assert cli("track", run_directory) == (0, "1 uploaded\n", "")  # whoever changes their mind
    assert len(server.runs[run_directory.name].history) == 5  # four evaluations and the figures

"""Whatever happens to W&B, its client or its server: the run is done, and one line says what it has lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer

import pytest

from iclgd.tracking import mirror as mirrors
from iclgd.tracking import wandb as tracking
from iclgd.tracking.environment import describe_environment
from iclgd.tracking.mirror import Mirror
from iclgd.tracking.run_directory import RunDirectory
from iclgd.tracking.track import track
from iclgd.tracking.wandb import TrackingConfig
from tests.tracking import copied_rows
from tests.wandb_server import StoredRun, WandbServer

Cli = Callable[..., tuple[int, str, str]]
Capture = pytest.CaptureFixture[str]
CONFIG = "experiment: regression\ntracking: {project: p}\n"


def slow(*values: object) -> object:
    """Mark a case that has a quicker twin."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mirrors, "SECONDS_TO_START", 6.0)
    monkeypatch.setattr(mirrors, "SECONDS_TO_FINISH", 4.0)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield server


@pytest.fixture
def broken_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that answers everything with one status and text, or never."""
    status, text = request.param
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if status is None and self.path != "/healthz":
                over.wait()
                return
            self.send_response(status or 200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """The client leaves when it has waited long enough."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield
        over.set()
        server.shutdown()


def record(mode: str = "auto", steps: int = 3, during: Callable[[int, RunDirectory], None] = lambda *_: None) -> Path:
    """Record a run as an experiment does; call ``during`` before each of its steps, and before its end."""
    with Mirror(TrackingConfig(mode=mode)) as mirror:
        mirror.resolve()
        run = RunDirectory.create("small", CONFIG, describe_environment("cpu"))
        mirror.begin(run)
        for step in range(steps):
            during(step, run)
            run.append_metrics(step, {"loss": 1 / (1 + step)})
        during(steps, run)
        run.write_summary({"loss/final": 0.25})
        mirror.finish()
    return run.path


def lines(capsys: Capture) -> list[str]:
    return capsys.readouterr().err.splitlines()


def wandb_processes() -> list[int]:
    """Return the processes of W&B's that have been started for this process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            content = path.read_text()
            arguments = path.with_name("cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        is_alive = content.rpartition(")")[2].split()[0] not in "ZX"
        if is_alive and arguments[0].endswith(b"wandb-core") and is_below(int(path.parent.name), os.getpid()):
            found.append(int(path.parent.name))
    return found


def is_below(process: int, ancestor: int) -> bool:
    while process not in (0, ancestor):
        try:
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return process == ancestor


def until(what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def losses(run: StoredRun) -> dict[int, float]:
    return {row["trainer/global_step"]: row["loss"] for row in copied_rows.lines(run)}


def assert_completed(server: WandbServer, path: Path, steps: int = 3) -> None:
    assert str(track([path])) == "1 uploaded"
    run = server.runs[path.name]
    assert losses(run) == pytest.approx({step: 1 / (1 + step) for step in range(steps)})
    assert (run.summary["loss/final"], run.state) == (0.25, "finished")
    assert str(track([path])) == "1 there already"
    assert server.unknown_operations == []


@pytest.mark.parametrize("when", [slow("it starts"), 1, slow(3)])
def test_wandbs_process_is_killed(when: int | str, server: WandbServer, capsys: Capture) -> None:
    def kill() -> None:
        until(wandb_processes)
        for process in wandb_processes():
            os.kill(process, signal.SIGKILL)

    def kill_when(step: int, run: RunDirectory) -> None:
        if step == 0 and when == "it starts":
            kill()
        elif step == when:
            until(lambda: run.path.name in server.runs)
            kill()

    started = time.monotonic()
    path = record(during=kill_when)
    assert time.monotonic() - started < 60
    said = lines(capsys)
    assert said[-1].endswith(f"the run goes on without it; upload later with: iclgd track {path}")
    assert sum("the run goes on without it" in line for line in said) == 1
    assert_completed(server, path)


@pytest.mark.slow
def test_our_own_process_is_killed(server: WandbServer, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = []
    start = mirrors.ClientProcess
    monkeypatch.setattr(mirrors, "ClientProcess", lambda take: clients.append(start(take)) or clients[-1])

    def kill(step: int, _: RunDirectory) -> None:
        if step == 2:
            os.kill(clients[0].pid, signal.SIGKILL)

    path = record(during=kill)
    (line,) = [line for line in lines(capsys) if "goes on without it" in line]
    assert "(W&B's client has ended)" in line
    assert_completed(server, path)


@pytest.mark.slow
def test_an_interrupted_run_does_not_wait_for_a_copy_that_has_not_started(server: WandbServer) -> None:
    begun = time.monotonic()
    with Mirror(TrackingConfig(mode="offline")) as mirror:
        mirror.begin(RunDirectory.create("small", CONFIG, describe_environment("cpu")))
        mirror.close(130)
    assert time.monotonic() - begun < 0.5
    assert not wandb_processes()


def test_a_run_that_is_killed_leaves_no_process(server: WandbServer) -> None:
    code = f"""\
import time
from tests.tracking.test_mirror import CONFIG, Mirror, RunDirectory, TrackingConfig
with Mirror(TrackingConfig(mode="online")) as mirror:
    mirror.resolve()
    mirror.begin(RunDirectory.create("small", {CONFIG!r}, {{}}))
    time.sleep(1000)
"""
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root)
    until(lambda: server.runs)
    (core,) = wandb_processes()
    process.kill()
    process.wait()
    until(lambda: not is_running(core), 20)
    until(lambda: next(iter(server.runs.values())).state == "failed", 20)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("broken_server", [
    slow((None, b"")),
    (200, b"<html>hello</html>"),
    slow((200, b'{"data": 3}')),
    slow((500, b"no")),
    slow((404, b"no")),
    slow((401, b'{"errors": [{"message": "no"}]}')),
    slow((403, b"no")),
    slow((410, b"no")),
], indirect=True, ids=lambda value: f"{value[0]}-{value[1].decode()[:8]}")  # fmt: skip
@pytest.mark.usefixtures("broken_server")
def test_a_server_that_is_of_no_use(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "SECONDS_TO_START", 2.0)
    path = record("online")
    (line,) = lines(capsys)
    assert line.startswith("tracking: W&B offline (")
    assert line.endswith(f"; upload later with: iclgd track {path}")
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        assert_completed(server, path)


@pytest.mark.slow
def test_a_server_that_refuses_numbers(server: WandbServer, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no numbers")

    with monkeypatch.context() as patch:
        patch.setattr(server, "_file_stream", refuse)
        path = record("online")
    first, line = lines(capsys)
    assert first == f"tracking: W&B online ({server.url} answers)"
    assert line.startswith("tracking: W&B has not got it all (")
    assert "no numbers" in line
    assert line.endswith(f"; upload later with: iclgd track {path}")
    assert_completed(server, path)


@pytest.mark.slow
def test_a_server_that_is_lost(server: WandbServer, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB__FILE_STREAM_TRANSMIT_INTERVAL", "1")  # it would send only every 15 seconds

    def stop(step: int, run: RunDirectory) -> None:
        if step == 2:
            until(lambda: run.path.name in server.runs and server.runs[run.path.name].history)
            server.stop()

    path = record(during=stop)
    first, line = lines(capsys)
    assert first.startswith("tracking: W&B online")
    assert line.endswith(f"; upload later with: iclgd track {path}")
    with WandbServer() as again:
        again.runs |= server.runs  # it knows what it knew
        assert 0 < len(again.runs[path.name].history) <= 2
        monkeypatch.setenv("WANDB_BASE_URL", again.url)
        assert_completed(again, path)


def test_a_run_that_goes_on_is_one_run(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after more rows than its last checkpoint knows of, which come again."""
    with Mirror(TrackingConfig(mode="online")) as mirror:
        mirror.resolve()
        run = RunDirectory.create("small", CONFIG, describe_environment("cpu"))
        mirror.begin(run)
        for step in range(5):
            run.append_metrics(step, {"loss": 1 / (1 + step)})
        until(lambda: mirror._has_started)
        mirror.close(130)
    stored = server.runs[run.path.name]
    assert (len(stored.history), stored.state) == (5, "failed")
    run.forget_metrics_after(2)
    with Mirror(TrackingConfig(mode="online")) as mirror:
        mirror.resolve()
        mirror.begin(run)
        for step in range(3, 7):
            run.append_metrics(step, {"loss": 1 / (1 + step)})
        run.write_summary({"loss/final": 0.25})
        mirror.finish()
    assert losses(stored) == pytest.approx({step: 1 / (1 + step) for step in range(7)})
    assert (stored.summary["loss/final"], stored.state) == (0.25, "finished")
    assert str(track([run.path])) == "1 there already"
    with Mirror(TrackingConfig(mode="disabled")) as mirror:  # and goes on once more, to new figures, say
        mirror.begin(run)
    assert not (run.path / "tracked.json").exists()


@pytest.mark.slow
def test_the_stop_button_of_the_server_stops_the_run(server: WandbServer) -> None:
    """W&B's client asks its server every quarter of a minute or so."""
    asked: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: asked.append(number))

    def press_and_wait(step: int, run: RunDirectory) -> None:
        if step == 1:
            until(lambda: run.path.name in server.runs)
            server.runs[run.path.name].stop_requested = True
            until(lambda: asked, 90)

    try:
        path = record("online", during=press_and_wait)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert asked == [signal.SIGUSR1]
    assert len(losses(server.runs[path.name])) == 3


BROKEN = {
    "absent": "raise ModuleNotFoundError(\"No module named 'wandb'\")",
    "of another version": "def setup(): pass",
    "raising": "raise RuntimeError('no\\nway')",
    "exiting": "import sys; sys.exit(7)",
    "leaving": "import os; os._exit(7)",
    "hanging": "import time; time.sleep(1000)",
    "loud": "import sys; print('x' * 100000); sys.stderr.write('y' * 100000); raise KeyboardInterrupt",
}


@pytest.mark.parametrize(("how", "mode"), [
    (how, mode) if (how, mode) in (("raising", "auto"), ("leaving", "offline")) else slow(how, mode)
    for how in BROKEN
    for mode in ("auto", "offline")
])  # fmt: skip
def test_a_client_that_cannot_start(
    how: str, mode: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "packages" / "wandb").mkdir(parents=True)
    (tmp_path / "packages" / "wandb" / "__init__.py").write_text(BROKEN[how] + "\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setattr(tracking, "SECONDS_TO_LOOK", 2.0)
    monkeypatch.setattr(mirrors, "SECONDS_TO_START", 2.0)
    path = record(mode)
    (line,) = lines(capsys)
    assert line.startswith("tracking: W&B cannot start (")
    assert line.endswith(f"); the run goes on without it; upload later with: iclgd track {path}")
    assert not (path / "wandb").exists()


def test_a_client_that_is_broken_costs_a_run_nothing(
    cli: Cli, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "packages" / "wandb").mkdir(parents=True)
    (tmp_path / "packages" / "wandb" / "__init__.py").write_text(BROKEN["absent"] + "\n")
    _, out, _ = cli("run", small_config)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    code, tracked, err = cli("run", small_config, "tracking.mode=auto")
    assert code == 0
    assert err.count("tracking: ") == 1
    summaries = [RunDirectory(Path(each.splitlines()[-1])).read_summary() or {} for each in (out, tracked)]
    for summary in summaries:
        summary.pop("train/steps_per_second")
    assert summaries[0] == summaries[1] != {}
    code, out, err = cli("track", tracked.splitlines()[-1])
    assert (code, out) == (2, "")
    assert err.startswith("iclgd: nothing was uploaded: W&B's client cannot start (ModuleNotFoundError")


@pytest.mark.parametrize("how", ["full", slow("read-only"), slow("a file")])
def test_a_folder_that_takes_no_files(
    how: str, server: WandbServer, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()

    def spoil(step: int, run: RunDirectory) -> None:
        if step == 0 and how == "a file":
            (run.path / "wandb").touch()
        elif step == 0:
            (run.path / "wandb").symlink_to(disk)

    options = {"full": ["-o", "size=64k"], "read-only": ["-o", "size=2m,ro"]}.get(how)
    if options:
        mounted = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", disk], capture_output=True, check=False)
        if mounted.returncode != 0:
            pytest.skip("may not mount")
    try:
        begin = Mirror.begin

        def spoil_and_begin(self: Mirror, directory: RunDirectory) -> None:
            spoil(0, directory)
            begin(self, directory)

        monkeypatch.setattr(Mirror, "begin", spoil_and_begin)
        path = record("offline", steps=50)
        said = lines(capsys)
        assert said[-1].endswith(f"upload later with: iclgd track {path}")
        assert len(said) <= 2
        assert_completed(server, path, 50)
    finally:
        if options:
            subprocess.run(["umount", disk], check=True)

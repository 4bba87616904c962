import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from iclgd.sweeps.workers import session
from tests.sweeps.workers.test_trial_process import wait_for_child, wait_until_gone

# A trial in a process group of its own, as W&B's agents start it, whose process id is written when it runs.
AGENT = f"exec {sys.executable} agent.py"
SCRIPT = """
import subprocess
subprocess.run(["sh", "-c", "echo $$ > child; exec sleep 60"], process_group=0)
"""
WORKER = """
import os, sys, time
from pathlib import Path
from iclgd.sweeps.workers.session import SessionGuard
from iclgd.sweeps.workers.trial_process import TrialProcess
with SessionGuard() as guard:
    here = Path(sys.argv[1])
    TrialProcess(["sh", "-c", sys.argv[2]], os.environ, here / "log", here, guard)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _script(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(SCRIPT)


def test_members_are_in_any_process_group(tmp_path: Path) -> None:
    agent = subprocess.Popen(["sh", "-c", AGENT], cwd=tmp_path, start_new_session=True)
    child = wait_for_child(tmp_path)
    assert {agent.pid, child} <= set(session.members(agent.pid))
    assert session.has_others(agent.pid)
    session.kill(agent.pid)
    agent.wait()
    wait_until_gone(child)
    assert session.members(agent.pid) == []


def test_what_an_agent_leaves_is_found(tmp_path: Path) -> None:
    agent = subprocess.Popen(["sh", "-c", AGENT], cwd=tmp_path, start_new_session=True)
    child = wait_for_child(tmp_path)
    agent.kill()
    agent.wait()
    assert child in session.members(agent.pid)
    session.kill(agent.pid)
    wait_until_gone(child)


def test_an_agent_without_a_trial_is_alone() -> None:
    agent = subprocess.Popen(["sleep", "60"], start_new_session=True)
    assert session.members(agent.pid) == [agent.pid]
    assert not session.has_others(agent.pid)
    session.kill(agent.pid)
    agent.wait()


@pytest.mark.parametrize("signal_name", ["KILL", "TERM"])
def test_a_trial_dies_with_its_agents_worker(tmp_path: Path, signal_name: str) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), AGENT])
    child = wait_for_child(tmp_path)
    subprocess.run(["kill", f"-{signal_name}", str(worker.pid)], check=True)
    worker.wait(5)
    wait_until_gone(child)


def test_what_has_ended_is_no_member() -> None:
    agent = subprocess.Popen(["sh", "-c", "read line"], stdin=subprocess.PIPE, start_new_session=True)
    assert session.members(agent.pid) == [agent.pid]
    agent.kill()
    os.waitid(os.P_PID, agent.pid, os.WEXITED | os.WNOWAIT)  # it has, but is there until it is waited for
    assert session.members(agent.pid) == []
    agent.communicate()


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps")
def test_members_are_found_without_a_proc_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session, "PROC", tmp_path / "nowhere")
    agent = subprocess.Popen(["sleep", "60"], start_new_session=True)
    assert session.members(agent.pid) == [agent.pid]
    session.kill(agent.pid)
    os.waitid(os.P_PID, agent.pid, os.WEXITED | os.WNOWAIT)
    assert session.members(agent.pid) == []
    agent.wait()

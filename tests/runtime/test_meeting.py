import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from iclgd.runtime import meeting
from iclgd.runtime.meeting import _wait, check_meeting_place
from iclgd.runtime.ranks import LaunchError, check_ranks, is_first_process
from iclgd.runtime.signals import stop_requests
from tests.processes import signal_now


@pytest.fixture(autouse=True)
def _nobody_started_us(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "MASTER_ADDR", "MASTER_PORT", "ICLGD_PARENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(stop_requests, "must_end_at_once", False)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MASTER_PORT", "abc", "MASTER_PORT must be a whole number of at least 1, got 'abc'"),
        ("MASTER_PORT", "0", "MASTER_PORT must be a whole number of at least 1, got '0'"),
        ("MASTER_PORT", "70000", "MASTER_PORT must be a port, 1 to 65535, got 70000"),
        ("MASTER_ADDR", "", "MASTER_ADDR: no machine '' is known here"),
        ("MASTER_ADDR", "a..b", "MASTER_ADDR: no machine 'a..b' is known here"),
    ],
)
def test_places_that_are_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(LaunchError, match=re.escape(message)) as error:
        check_meeting_place(LightningEnvironment(), 0)
    assert "\n" not in str(error.value)


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(LaunchError, match=f"MASTER_PORT={port}: cannot be used here"):
            check_meeting_place(LightningEnvironment(), 0)
        check_meeting_place(LightningEnvironment(), 1)  # which only goes there
    check_meeting_place(LightningEnvironment(), 0)


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
@pytest.mark.parametrize("value", ["x", "", "-1", "1.0", "9" * 5000])
def test_ranks_that_are_no_numbers(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(LaunchError, match=f"^{name} must be a whole number"):
        check_ranks()


def test_only_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_first_process()
    monkeypatch.setenv("SLURM_PROCID", "1")  # of a batch script, perhaps
    assert is_first_process()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_first_process()


def test_who_does_not_come_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "SECONDS_TO_MEET", 0.2)
    with pytest.raises(LaunchError, match=r"have come to here:1 within 0 seconds"):
        _wait(lambda: time.sleep(3), [], "here:1")
    assert stop_requests.must_end_at_once


def test_ctrl_c_is_answered_while_waiting() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it

    def come_late() -> None:
        signal_now(signal.SIGINT)
        time.sleep(3)

    try:
        with pytest.raises(KeyboardInterrupt):
            _wait(come_late, [], "here:1")
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_stop_is_answered_if_nobody_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "SECONDS_TO_END", 0.2)
    monkeypatch.setattr(stop_requests, "is_requested", True)
    _wait(lambda: time.sleep(0.01), [], "here:1")  # the others were just coming
    with pytest.raises(KeyboardInterrupt):
        _wait(lambda: time.sleep(3), [], "here:1")


def test_a_process_that_ends_before_all_have_met_is_named() -> None:
    for code, expected in ((3, LaunchError), (130, KeyboardInterrupt)):
        child = subprocess.Popen([sys.executable, "-S", "-c", f"raise SystemExit({code})"])
        with pytest.raises(expected):
            _wait(lambda: time.sleep(60), [child], "here:1")


def test_who_was_left_alone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICLGD_PARENT", "1")
    with pytest.raises(KeyboardInterrupt):
        _wait(lambda: time.sleep(3), [], "here:1")


def test_what_goes_wrong_in_between_is_one_line() -> None:
    def fail() -> None:
        raise RuntimeError("cannot connect\nframe 0\nframe 1")

    with pytest.raises(LaunchError, match=r"^the processes of this run cannot meet at here:1: cannot connect$"):
        _wait(fail, [], "here:1")

import contextlib
import signal
import threading
from collections.abc import Iterator

import pytest

from iclgd.runtime.signals import STOP_SIGNALS, StopRequests
from tests.processes import signal_now


@pytest.fixture(autouse=True)
def _own_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the handlers back, which stay in force after a stop signal; forget who started the tests."""
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that nohup has started ignore it
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [*STOP_SIGNALS, signal.SIGHUP])
def test_the_first_signal_interrupts_and_the_next_ones_do_not(number: signal.Signals) -> None:
    requests = StopRequests()
    with requests.handled():
        with pytest.raises(KeyboardInterrupt):
            signal_now(number)
        for later in STOP_SIGNALS:
            signal_now(later)
    assert requests.is_requested
    signal_now(number)  # W&B may close its files now


def test_a_terminal_that_goes_is_nothing_to_a_run_without_one() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    requests = StopRequests()
    with requests.handled():
        signal_now(signal.SIGHUP)
    assert not requests.is_requested
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_without_a_signal_everything_is_as_before() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with StopRequests().handled():
        assert [signal.getsignal(number) for number in STOP_SIGNALS] != before
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_a_deferred_signal_is_answered_at_the_end() -> None:
    requests, reached = StopRequests(), []

    def work() -> None:
        with requests.deferred():
            signal_now(signal.SIGTERM)
            reached.append(requests.is_requested)

    with requests.handled(), pytest.raises(KeyboardInterrupt):
        work()
    assert reached == [True]


def test_an_error_is_not_replaced_by_a_deferred_signal() -> None:
    requests = StopRequests()

    def fail() -> None:
        with requests.deferred():
            signal_now(signal.SIGTERM)
            raise ValueError("other")

    with requests.handled(), pytest.raises(ValueError, match="other"):
        fail()


def test_a_signal_that_was_swallowed_is_answered_later() -> None:
    requests = StopRequests()
    with requests.handled():
        with contextlib.suppress(BaseException):
            signal_now(signal.SIGUSR1)
        with pytest.raises(KeyboardInterrupt):
            requests.answer()


@pytest.mark.parametrize(("name", "value"), [("NODE_RANK", "0"), ("LOCAL_RANK", "1"), ("SLURM_STEP_NUM_TASKS", "2")])
def test_one_of_several_processes_waits_until_they_have_met(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    requests = StopRequests()
    with requests.handled():
        signal_now(signal.SIGUSR1)
        requests.answer()
        with pytest.raises(KeyboardInterrupt), requests.deferred():
            requests.have_met()


def test_other_threads_have_no_say_in_signals() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with StopRequests().handled():
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []

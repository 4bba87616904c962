import inspect
import logging

from wandb import env, wandb_agent
from wandb.apis.public import sweeps

from iclgd.vendors.wandb_sweeps import CANNOT_PAUSE, EVENTS, WITHOUT_FLAPPING, said_by_agent


def test_wandb_says_of_sweeps_what_we_read() -> None:
    agent = inspect.getsource(wandb_agent)
    form = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
    assert f'logging.Formatter(\n        "{form}"' in agent, "lines of W&B's agents have another form"
    for words, event in EVENTS.items():
        assert f'"{words}' in agent, f"W&B's agents no longer say {words!r} when a trial {event}"
        record = logging.LogRecord(wandb_agent.logger.name, logging.INFO, "", 0, f"{words}abc", None, None)
        assert said_by_agent(logging.Formatter(form).format(record)) == (event, "abc"), "W&B's logger has another name"
    assert said_by_agent("iclgd: interrupted") is None
    assert [*WITHOUT_FLAPPING] == [env.AGENT_DISABLE_FLAPPING], "W&B's agents end after quick failures"
    assert f'"{CANNOT_PAUSE}' in inspect.getsource(sweeps), "pausing a sweep that is over is no longer refused so"

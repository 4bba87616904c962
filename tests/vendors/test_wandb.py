import inspect
import json
import logging
from pathlib import Path

import wandb
from wandb import env, wandb_agent
from wandb.apis.public import sweeps

from iclgd.vendors.wandb import (
    CANNOT_PAUSE,
    EVENTS,
    OF_UPLOADS,
    WITHOUT_FLAPPING,
    experimental_settings,
    said_by_agent,
    upload_errors,
)


def test_wandb_is_as_we_take_it(tmp_path: Path) -> None:
    settings = wandb.Settings(**experimental_settings(measures_machine=False, seconds_between_writes=0.5))
    assert settings.x_disable_stats, "W&B has another setting against measuring the machine"
    assert settings.x_transaction_log_flush_interval == 0.5, "W&B has another setting: killed runs lose their last rows"
    assert Path(settings.log_internal).name, "W&B's log is elsewhere: failed uploads pass for whole ones"

    program = (Path(wandb.__file__).parent / "bin" / "wandb-core").read_bytes()
    unknown = [prefix for prefix in OF_UPLOADS if prefix.encode() not in program]
    assert not unknown, f"W&B's log says it in other words: failed uploads pass for whole ones ({unknown})"
    log = tmp_path / "debug-core.log"
    log.write_text(json.dumps({"level": "ERROR", "msg": f"{OF_UPLOADS[0]}fatal error"}) + "\nnot JSON\n")
    assert upload_errors(log) == [f"{OF_UPLOADS[0]}fatal error"]

    parameters = list(inspect.signature(wandb.Image.bind_to_run).parameters)
    assert parameters[:4] == ["self", "run", "key", "step"], "W&B binds images otherwise: summaries have no figures"


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

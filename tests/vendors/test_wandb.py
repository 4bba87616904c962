import json
from inspect import signature
from pathlib import Path

import wandb

from iclgd.vendors.wandb import OF_UPLOADS, experimental_settings, upload_errors


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

    parameters = list(signature(wandb.Image.bind_to_run).parameters)
    assert parameters[:4] == ["self", "run", "key", "step"], "W&B binds images otherwise: summaries have no figures"

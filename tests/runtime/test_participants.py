import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from iclgd import config as configs
from iclgd.checks import InputError
from iclgd.runtime import participants
from iclgd.runtime.participants import Participants
from iclgd.tracking.run_directory import RunDirectory
from tests.conftest import ROOT

EMBEDDED = ROOT / "configs" / "language_modeling" / "embedded_model.yaml"


def compare(monkeypatch: pytest.MonkeyPatch, overrides: list[str], checkpoints: list[Path | None]) -> None:
    """Let a process meet another one."""
    ours, theirs = (configs.load(EMBEDDED, more) for more in ([], overrides))
    first, second = (Participants(config, path, None) for config, path in zip((ours, theirs), checkpoints, strict=True))
    other = ({"rank": 1, "host": "node2", "device": "cpu"}, second.values)
    monkeypatch.setattr(participants, "_gather", lambda mine, number: [mine, other])
    monkeypatch.setattr("socket.gethostname", lambda: "node1")
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer: Any = SimpleNamespace(global_rank=0, world_size=2, strategy=strategy)
    first.setup(trainer, None, "fit")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("training.learning_rate=0.5", "training.learning_rate is 0.001 on rank 0 (node1) and 0.5 on rank 1 (node2)"),
        ("tracking.tags=[a]", "tracking.tags is [] on rank 0 (node1) and ['a'] on rank 1 (node2)"),
    ],
)
def test_a_difference_is_named(monkeypatch: pytest.MonkeyPatch, override: str, difference: str) -> None:
    with pytest.raises(InputError) as error:
        compare(monkeypatch, [override], [None, None])
    assert str(error.value) == f"all processes of a run need the same config, but {difference}"


def test_all_go_on_from_the_same_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    compare(monkeypatch, [], [Path("here/step=5.ckpt"), Path("there/step=5.ckpt")])
    with pytest.raises(InputError, match=r"the checkpoint is 'step=5.ckpt' on rank 0 \(node1\) and None on rank 1"):
        compare(monkeypatch, [], [Path("step=5.ckpt"), None])


def test_other_experiments_are_different(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {"experiment": "text", "more": 1}
    mine = Participants(configs.load(EMBEDDED), None, None)
    other = ({"rank": 1, "host": "b", "device": "cpu"}, theirs)
    monkeypatch.setattr(participants, "_gather", lambda mine, number: [mine, other])
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    with pytest.raises(InputError, match="experiment is 'language_modeling' on rank 0"):
        mine.setup(SimpleNamespace(global_rank=0, world_size=2, strategy=strategy), None, "fit")  # type: ignore[arg-type]


def test_one_process_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICLGD_RUNS", str(tmp_path))
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    directory = RunDirectory.create("some", "seed: 0\n", {"commit": "abc"})
    monkeypatch.setattr("socket.gethostname", lambda: "node1")
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer: Any = SimpleNamespace(global_rank=0, world_size=1, strategy=strategy)
    Participants(configs.load(EMBEDDED), None, directory).setup(trainer, None, "fit")  # type: ignore[arg-type]
    assert json.loads((directory.path / "environment.json").read_text()) == {
        "commit": "abc",
        "world_size": 1,
        "processes": [{"rank": 0, "host": "node1", "device": "cpu"}],
    }

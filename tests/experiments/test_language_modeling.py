from pathlib import Path

import pytest

from iclgd import config as configs
from iclgd.experiments.language_modeling import Config, prepare, write_model
from tests.conftest import ROOT

EMBEDDED = ROOT / "configs" / "language_modeling" / "embedded_model.yaml"


def test_saving_a_model_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = configs.load(EMBEDDED, ["model={num_layers: 1, num_heads: 1, hidden_size: 4}"])
    assert isinstance(config, Config)
    data, module = prepare(config)
    capfd.readouterr()
    write_model(module.model, data.make_tokenizer(512), tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert capfd.readouterr() == ("", "")

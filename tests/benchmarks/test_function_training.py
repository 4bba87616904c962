import json

import pytest
import torch

from benchmarks import _function_training
from benchmarks._function_training import SHAPES, check, config_of, measure_training, peer_of
from benchmarks.functions import main


def test_a_record_says_how_fast_both_train(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "training_small", (5, 3, 1, 2, 8, 4, 2))
    main(["training_small", "--repeats", "2", "--precision", "bf16-mixed"])
    record = json.loads(capsys.readouterr().out)
    assert record["benchmark"] == "functions/training_small"
    assert record["precision"] == "bf16-mixed"
    assert 0 < record["ratio_least"] <= record["ratio"] <= record["ratio_most"]
    assert record["steps_per_second"] > 0
    assert record["loop_steps_per_second"] > 0
    assert record["difference"] < 1e-5


def test_a_loop_that_computes_something_else_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "training_small", (5, 3, 1, 2, 8, 4, 2))

    def wrong(config: object) -> object:
        peer, model = peer_of(config)  # type: ignore[arg-type]
        with torch.no_grad():
            peer.backbone.wpe.weight.mul_(1.1)
        return peer, model

    assert check("training_small") < 1e-5
    monkeypatch.setattr(_function_training, "peer_of", wrong)
    with pytest.raises(RuntimeError, match="the published loop computes something else"):
        measure_training("training_small", 1)


def test_the_standard_shape_is_the_published_one() -> None:
    config = config_of("training_standard")
    model, task = config.model, config.task
    sizes = (model.num_layers, model.num_heads, model.hidden_size, task.input_dim, task.num_points)
    assert (*sizes, config.training.batch_size) == (12, 8, 256, 20, 41, 64)

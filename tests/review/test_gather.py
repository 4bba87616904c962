from pathlib import Path

import pytest

from iclgd.review.gather import ReviewError, gather
from tests.review.factory import make_run


def test_runs_are_found_at_any_depth_once_and_read_when_asked(tmp_path: Path) -> None:
    path = make_run(tmp_path / "a" / "b", "one_layer", "first", changes={"seed": 3, "training.num_seeds": 2})
    text = make_run(tmp_path, "embedded", "second", tracked=["https://api.wandb.ai/team/icl/second"])
    found = gather([tmp_path, path])
    assert [run.path for run in found.runs] == [path, text]
    first, second = found.runs
    assert first.seeds == (3, 4)
    assert first.is_complete
    assert first.version == "0.1.0"
    assert [record["step"] for record in first.metrics] == [0, 2500, 5000]
    assert list(first.weights) == ["gd.query"]
    assert first.predictions == []
    assert first.wandb_run is None
    assert second.wandb_run == "team/icl/second"
    assert len(second.predictions) == 12
    assert second.weights == {}
    assert not first.problems
    assert not second.problems
    assert not found.left_out
    assert first.results().config["model"]["num_layers"] == 1


def test_parts_that_are_broken_are_told_and_nothing_is_raised(tmp_path: Path) -> None:
    path = make_run(tmp_path, "one_layer", "a", analyses={"which_algorithm": {"seeds": []}})
    (path / "weights.safetensors").write_bytes(b"no weights")
    (path / "analysis" / "which_algorithm.json").write_text("{")
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5001, "loss\n')
    (run,) = gather([tmp_path]).runs
    assert len(run.metrics) == 3
    assert run.weights == {}
    assert run.analyses == {}
    assert len(run.problems) == 3
    for name in ("metrics.jsonl", "weights.safetensors", "which_algorithm.json"):
        assert sum(name in problem for problem in run.problems) == 1, run.problems


def test_a_run_that_has_gone_since_has_nothing(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    (run,) = gather([tmp_path]).runs
    path.rename(path.with_name("elsewhere"))
    assert run.metrics == []
    assert run.weights == {}
    assert run.analyses == {}
    assert run.predictions == []
    assert run.problems


def test_trials_belong_to_their_sweep_unless_a_run_of_it_alone_is_asked_for(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    path = make_run(sweep / "runs", "debug", "abc-0000")
    (sweep / "options.json").write_text("{}")
    for asked in (sweep, tmp_path):
        found = gather([asked])
        assert [each.path for each in found.sweeps] == [sweep]
        assert not found.runs
        assert [run.path for run in found.sweeps[0].runs] == [path]
    alone = gather([path])
    assert [run.path for run in alone.runs] == [path]
    assert not alone.sweeps


@pytest.mark.parametrize(("name", "message"), [("absent", "no such folder"), ("file", "expected a folder")])
def test_what_is_no_folder_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReviewError, match=f"{name}: {message}"):
        gather([tmp_path / name])

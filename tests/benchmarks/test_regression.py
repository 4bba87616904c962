import json
import sys

import pytest

from benchmarks.regression import main, report
from tests.forked import Forked

WHAT = ("one_layer", "five_layer_recurrent", "seeds", "best_rate")


def test_medians_and_ratios_are_pairwise() -> None:
    ours, peer = report({"trainer": [4.0, 6.0, 100.0], "peer": [2.0, 2.0, 200.0]}, "one_layer")
    assert (ours["steps_per_second"], ours["trainer_is_times_as_fast"]) == (6.0, 1.0)
    assert (peer["steps_per_second"], peer["minimum"], peer["maximum"], peer["repeats"]) == (2.0, 2.0, 200.0, 3)
    assert peer["trainer_is_times_as_fast"] == pytest.approx(2.0)  # of the ratios 2, 3 and 0.5


def test_the_benchmark_prints_a_json_line_for_each_loop() -> None:
    options = [*WHAT, "--steps", "3", "--repeats", "1"]
    # Seconds of the peer's compiler; and of its import, in a fork: its threads are none of the other tests'.
    code, out, err = Forked(*options, main=lambda _: main(), JAX_DISABLE_MOST_OPTIMIZATIONS="1").result()
    assert code == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    (best_rate,) = (line for line in lines if line["benchmark"] == "regression/best_rate")
    assert 0 < best_rate["seconds"] < 2
    loops = {(line["benchmark"].removeprefix("regression/"), line["loop"]) for line in lines if line is not best_rate}
    ours = {"trainer", "plain_loop", "plain_loop_drawing_inline"}
    assert {(name, loop) for name in WHAT[:2] for loop in ours} | {("seeds", "ten_seeds")} <= loops
    assert all(line["steps_per_second"] > 0 and line["repeats"] == 1 for line in lines if line is not best_rate)


@pytest.mark.parametrize("steps", ["-1", "0", "many"])
def test_bad_options_are_refused(
    steps: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["regression", "--steps", steps])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "argument --steps: " in capsys.readouterr().err

import json

import pytest

from benchmarks.functions import PAIRS, main


def test_a_json_line_says_how_fast_and_how_alike_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["least_squares", "ridge", "averaging", "nearest_neighbors", "dmmse"]
    main([*names, "--prompts", "3", "--repeats", "1"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["benchmark"] for line in lines] == [f"functions/{name}" for name in names]
    assert set(names) < set(PAIRS)
    for line in lines:
        assert line["prompts"] == 3
        assert line["ratio"] == pytest.approx(line["prompts_per_second"] / line["loop_prompts_per_second"], rel=0.02)
        assert line["difference"] < 1e-2  # the loops' single precision


def test_bad_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["lassso"])
    assert "NAME must be one of: least_squares, ridge" in capsys.readouterr().err

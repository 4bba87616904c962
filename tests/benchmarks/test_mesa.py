import json

import pytest

from benchmarks.mesa import main


def test_a_json_line_for_each_length_and_one_for_the_growth(capsys: pytest.CaptureFixture[str]) -> None:
    main(["70", "140", "--width", "8", "--heads", "2", "--sequences", "2", "--repeats", "1"])
    *lengths, growth = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["tokens"] for line in lengths] == [70, 140]
    for line in lengths:
        assert line["ratio"] == pytest.approx(line["mesa_ms"] / line["linear_ms"], rel=0.05, abs=0.05)
        assert line["mesa_alone_backward_ms"] > 0
    assert growth["tokens"] == [70, 140]


def test_heads_have_to_divide_the_width(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--width", "10", "--heads", "3"])
    assert "--heads must divide --width (10), got 3" in capsys.readouterr().err

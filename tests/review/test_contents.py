"""A review of what people have: hostile texts, broken folders, other versions, none, and many."""

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from iclgd import config as configs
from iclgd.report.comparisons import Estimate
from iclgd.review.contents import make_review
from iclgd.review.document import Review, Section, Table
from iclgd.review.gather import ReviewError, gather
from iclgd.review.headline import headline
from iclgd.review.published import PUBLISHED, mismatches
from iclgd.review.settings import settings_of
from iclgd.review.tables import MOST_QUERIES, MOST_RUNS
from iclgd.runs.records import flat_config
from iclgd.shipped import find
from tests.conftest import ROOT
from tests.review.factory import make_run
from tests.sweeps.conftest import make_sweep  # noqa: F401
from tests.sweeps.progress.conftest import MakeRates, make_rates  # noqa: F401

HOSTILE = "<script>alert(1)</script> \"'`; rm -rf / \u202eright\u202c \x1b[31m\n" + "x" * 10_000


def table(section: Section, title: str) -> Table:
    (found,) = (each for each in section.tables if each.title == title)
    return found


def check(review: Review) -> None:
    """See that a review is whole: rows as wide as their columns, every section with an answer, no text too long."""
    for section in review.sections:
        assert section.verdicts
        assert section.asked
        for each in (section.headline, *section.tables):
            assert all(len(row) == len(each.columns) for row in each.rows), each.title
            texts = [*each.columns, *(cell for row in each.rows for cell in row if isinstance(cell, str))]
            assert all(len(text) < 500 and text.isprintable() for text in texts), each.title
        lines = [*section.left_out, section.title, section.asked, *(each.sentence for each in section.verdicts)]
        assert all(len(line) < 5000 and line.isprintable() for line in lines)
        assert all(command.isprintable() for command in section.commands)


def test_every_kind_of_run_has_its_section(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path, "one_layer", f"r{seed}", changes={"seed": seed})
        make_run(tmp_path, "embedded", f"r{seed}", changes={"demonstrations.seed": seed}, tracked=["http://w/e/p/r"])
    make_run(tmp_path, "embedded_model", "r")
    review = make_review([tmp_path], "Friday")
    check(review)
    embedded, model, one_layer = review.sections
    assert (review.title, review.left_out, review.sources) == ("Friday", [], [str(tmp_path)])
    assert [section.title for section in review.sections] == ["embedded", "embedded_model", "one_layer"]
    assert [section.verdicts[0].answer for section in review.sections] == ["like", "cannot say", "like"]
    assert embedded.wandb_runs == ["e/p/r"] * 3
    assert all(section.charts for section in review.sections)
    assert "demonstrations.seed (0, 1 and 2)" in embedded.asked
    assert table(embedded, "Queries").rows[0][:3] == [0.0, "melon ledger waffle toad :", "nature"]
    assert "right" in str(table(embedded, "Queries").rows[0][4])
    assert one_layer.commands == ["iclgd run one_layer", "iclgd run one_layer seed=1", "iclgd run one_layer seed=2"]
    assert dict(one_layer.environment)["torch"] == "2.13.0+cpu"
    assert model.headline.rows


def test_commands_give_back_the_runs_config(tmp_path: Path) -> None:
    changes = {
        "seed": 7,
        "demonstrations.separator": "\n\t'\" é",
        "finetune.learning_rate": 1e-05,
        "evaluation.controls": [],
        "evaluation.other_task": None,
        "task.num_queries": 8,
    }
    make_run(tmp_path, "embedded", "r", changes=changes)
    (section,) = make_review([tmp_path]).sections
    (command,) = section.commands
    program, verb, name, *texts = shlex.split(command)
    assert (program, verb, name, len(texts)) == ("iclgd", "run", "embedded", len(changes))
    (run,) = gather([tmp_path]).runs
    assert flat_config(configs.to_dict(configs.load(find("config", name), texts))) == dict(run.config)


def test_what_has_no_config_that_ships_is_repeated_from_its_directory(tmp_path: Path) -> None:
    path = make_run(tmp_path, "my own", "r", config="one_layer")
    (section,) = make_review([tmp_path]).sections
    assert section.commands == [shlex.join(["iclgd", "run", str(path)])]


def test_hostile_texts_are_short_and_printable(tmp_path: Path) -> None:
    rows = [
        {
            "control": None,
            "query": 0,
            "setting": setting,
            "text": HOSTILE,
            "label": HOSTILE,
            "choice": HOSTILE,
            "scores": 3,
        }
        for setting in ("zero_shot", "in_context", "finetuned")
    ]
    changes = {"model.name": HOSTILE, "task.name": HOSTILE, "tracking.tags": [HOSTILE]}
    name = "<script>alert('&')</script>\u05d0\u05d1".replace("/", "")
    make_run(tmp_path, name, "<b>run", config="embedded", changes=changes, predictions=rows)
    make_run(
        tmp_path, name, "other", config="embedded", environment={"device": HOSTILE, "packages": {HOSTILE: HOSTILE}}
    )
    (section,) = make_review([tmp_path]).sections
    check(replace(make_review([tmp_path], HOSTILE), sections=[section]))
    assert section.title == name
    assert len(table(section, "Queries").rows[0][1]) <= 100  # type: ignore[arg-type]
    assert all(len(value) < 1000 for _, value in section.environment)


def test_broken_runs_are_left_out_with_their_reason(tmp_path: Path) -> None:
    good = make_run(tmp_path, "one_layer", "good")
    half = make_run(tmp_path, "one_layer", "half", changes={"seed": 1})
    (half / "summary.json").write_text('{"loss/gd": 0.')
    make_run(tmp_path, "one_layer", "interrupted", changes={"seed": 2}, complete=False)
    curve = make_run(tmp_path, "one_layer", "curve", changes={"seed": 3})
    (curve / "metrics.jsonl").write_text('{"step": 0')
    config = make_run(tmp_path, "one_layer", "config", changes={"seed": 4})
    (config / "config.yaml").write_text("experiment: [")
    make_run(tmp_path, "one_layer", "nan", changes={"seed": 5}, summary={"loss/transformer": float("nan")})
    (tmp_path / "one_layer" / "empty").mkdir()
    review = make_review([tmp_path])
    check(review)
    (section,) = review.sections
    lines = "\n".join([*section.left_out, *review.left_out])
    for path, reason in ((half, "damaged"), (curve, "metrics.jsonl"), (config, "config.yaml")):
        assert any(str(path) in line and reason in line for line in lines.split("\n")), (path, lines)
    assert "interrupted: interrupted" in lines
    assert str(good) not in lines
    assert section.verdicts[0].answer == "cannot say"
    assert "Not a finite number" in section.verdicts[0].sentence
    names = {str(row[0]) for row in table(section, "Runs").rows}
    assert names == {"good", "half", "interrupted", "curve", "nan"}


def test_runs_of_which_none_is_complete_have_no_verdict(tmp_path: Path) -> None:
    make_run(tmp_path, "one_layer", "r", complete=False)
    (section,) = make_review([tmp_path]).sections
    assert section.verdicts[0].answer == "cannot say"
    assert "None of 1 run is complete: interrupted." in section.verdicts[0].sentence
    assert not section.headline.rows


def test_runs_of_another_version_are_shown_and_said(tmp_path: Path) -> None:
    make_run(tmp_path, "one_layer", "new")
    make_run(tmp_path, "one_layer", "old", environment={"packages": {"iclgd": "0.0.9"}}, changes={"seed": 1})
    (section,) = make_review([tmp_path]).sections
    assert any("1 run of version 0.0.9" in line for line in section.left_out)
    assert dict(section.environment)["iclgd"] == "0.1.0 (1 run) and 0.0.9 (1 run)"


def test_runs_of_an_older_version_with_other_keys_are_read() -> None:
    review = make_review([ROOT / "tests" / "reference" / "runs"])
    check(review)
    assert [section.title for section in review.sections] == ["debug", "embedded", "seeds"]
    assert all(verdict.answer == "cannot say" for verdict in review.sections[0].verdicts)


def test_a_run_with_the_seed_of_another_is_no_repetition(tmp_path: Path) -> None:
    make_run(tmp_path, "one_layer", "a")
    make_run(tmp_path, "one_layer", "b")
    (section,) = make_review([tmp_path]).sections
    assert any("one_layer/a: has the setting and seeds of a later run" in line for line in section.left_out)
    assert "of one seed" in section.verdicts[0].sentence


def test_no_run_at_all_says_so(tmp_path: Path) -> None:
    review = make_review([tmp_path])
    assert not review.sections
    assert review.left_out == [f"there is no run directory in or below {tmp_path}"]
    with pytest.raises(ReviewError, match="no such folder"):
        make_review([tmp_path / "absent"])


def test_an_unknown_experiment_is_shown_without_a_verdict(tmp_path: Path) -> None:
    make_run(tmp_path, "own", "r", config="one_layer", changes={"experiment": "own"}, summary={"found": 1.5})
    (section,) = make_review([tmp_path]).sections
    assert section.verdicts[0].answer == "cannot say"
    (row,) = section.headline.rows
    assert row[0] == "found"
    assert isinstance(row[1], Estimate)
    assert (row[1].value, math.isnan(row[1].low), row[2:]) == (1.5, True, [None, None])


def test_many_runs_stay_readable(tmp_path: Path) -> None:
    for number in range(MOST_RUNS + 20):
        make_run(
            tmp_path, "one_layer", f"r{number:03}", changes={"seed": number % 2, "training.batch_size": number // 2}
        )
    (section,) = make_review([tmp_path]).sections
    runs = table(section, "Runs")
    assert len(runs.rows) == MOST_RUNS
    assert runs.note.startswith(f"The first {MOST_RUNS} of {MOST_RUNS + 20} runs")
    assert len(section.verdicts) == 6
    assert len(table(section, "Settings").rows) == 50
    assert any("commands" in line for line in section.left_out)


def test_queries_are_limited(tmp_path: Path) -> None:
    rows = [
        {
            "control": None,
            "query": query,
            "setting": "in_context",
            "text": "t",
            "label": "a",
            "choice": "b",
            "scores": {"b": 0},
        }
        for query in range(30)
    ]
    make_run(tmp_path, "embedded", "r", predictions=[*rows, {"query": []}, {"control": "untrained"}])
    (section,) = make_review([tmp_path]).sections
    queries = table(section, "Queries")
    assert len(queries.rows) == MOST_QUERIES
    assert "12 of 30 queries" in queries.note
    assert queries.rows[0][3:] == [None, "b (wrong, 0.00)", None]


@pytest.mark.parametrize(
    ("name", "loss", "paper"),
    [("one_layer", 0.2079, None), ("two_layer", 0.1136, None), ("softmax", 0.2201, None)],
)
def test_published_numbers_stand_beside_ours(tmp_path: Path, name: str, loss: float, paper: None) -> None:
    make_run(tmp_path, name, "r")
    found = headline(settings_of(gather([tmp_path]).runs))
    rows = {row[0]: row for row in found.rows}
    assert rows["loss/transformer"][2:] == [loss, paper]
    assert "3d5547c" in found.note


def test_published_numbers_are_of_the_same_setting_alone(tmp_path: Path) -> None:
    make_run(tmp_path, "one_layer", "short", changes={"trainer.max_steps": 300})
    make_run(tmp_path, "embedded", "text")
    text, short = (settings_of([run]) for run in gather([tmp_path]).runs)
    assert all(row[2:] == [None, None] for row in headline(short).rows)
    assert {row[0]: row[3] for row in headline(text).rows}["rec2ftp"] == 85.56
    assert "others than those of the papers" in headline(text).note


def test_published_numbers_are_those_of_the_results_page() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    regression = [each for each in PUBLISHED if each.needs["experiment"] == ("regression",)]
    assert len(regression) == 14
    assert all(f"{each.value:.4f}".rstrip("0") in page for each in regression)
    assert all(each.source for each in PUBLISHED)
    keys = {
        f"{name}": flat_config(configs.to_dict(configs.load(find("config", name))))
        for name in ("one_layer", "dai2023/sst2")
    }
    for each in PUBLISHED:  # a key that no config has would let every run pass
        config = keys["one_layer" if each.needs["experiment"] == ("regression",) else "dai2023/sst2"]
        assert set(each.needs) <= set(config)
        assert mismatches(each, {**config, "experiment": "other"}) == ["experiment", *mismatches(each, config)]


def test_a_sweep_is_one_section_with_the_best_mean(make_rates: MakeRates) -> None:  # noqa: F811
    folder = make_rates()
    review = make_review([folder.path.parent])
    check(review)
    (section,) = review.sections
    assert section.title == "sweep quick"
    best = section.verdicts[0]
    assert "training.learning_rate=0.003" in best.sentence
    assert best.answer == "unlike", best.sentence  # 0.21 and 0.267 over three seeds: told apart
    assert section.commands[0].startswith("iclgd sweep ")
    settings = table(section, "Settings")
    assert [row[1] for row in settings.rows] == [0.003, 0.01, 0.001, 0.03]
    mean = settings.rows[0][2]
    assert isinstance(mean, Estimate)
    assert tuple(mean) == pytest.approx((0.21, 0.21 - 4.302653 * 0.01 / 3**0.5, 0.21 + 4.302653 * 0.01 / 3**0.5))


def test_a_sweeps_runner_up_may_not_be_told_from_its_best(make_rates: MakeRates) -> None:  # noqa: F811
    folder = make_rates({6: 0.19, 7: 0.25, 8: 0.22})
    assert make_review([folder.path]).sections[0].verdicts[0].answer == "not told from its control"


def test_a_broken_sweep_is_left_out(tmp_path: Path) -> None:
    make_run(tmp_path / "sweep" / "runs", "debug", "abc-0000")
    (tmp_path / "sweep" / "options.json").write_text(json.dumps({"name": 3}))
    review = make_review([tmp_path])
    assert not review.sections
    assert any("options.json" in line for line in review.left_out)

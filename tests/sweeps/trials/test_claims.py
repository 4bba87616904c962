"""The trials of a sweep in a journal, as several workers see them."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from iclgd.sweeps.file import schema
from iclgd.sweeps.progress.reading import trial_rows
from iclgd.sweeps.progress.settings import best_row
from iclgd.sweeps.trials import claims as claims_module
from iclgd.sweeps.trials.claims import Claim, OfflineSweep, has_failed
from iclgd.sweeps.trials.folder import SweepOptions
from iclgd.sweeps.trials.journal import open_journal
from iclgd.sweeps.trials.plan import plan
from iclgd.sweeps.trials.search import draw

GRID = """\
method: grid
metric: {name: loss/transformer, goal: GOAL}
command: [iclgd, run, configs/regression/debug.yaml, "${args_no_hyphens}"]
parameters:
  training.learning_rate: {values: [0.1, 0.2, 0.3]}
  seed: {values: [0, 1]}
"""
SEARCH = """\
method: METHOD
metric: {name: loss/transformer}
command: [iclgd, run, configs/regression/debug.yaml, "${args_no_hyphens}"]
parameters:
  training.learning_rate: {distribution: log_uniform_values, min: 0.001, max: 1}
  model.num_layers: {values: [1, 2]}
"""
OPTIONS = SweepOptions("test", "abc123", "local", ".")


def make(tmp_path: Path, text: str, count: int | None = None, seed: int = 0) -> list[OfflineSweep]:
    """Return a sweep as two workers see it."""
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    sweep = schema.read(path)
    if sweep.method == "grid":
        points = list(sweep.grid())
    else:
        points = draw(sweep, count or 0, seed) if sweep.method == "random" else [{}] * (count or 0)
    options = SweepOptions("test", "abc123", "local", ".", seed=seed)
    plan(open_journal(tmp_path / "journal.log", private=True), sweep, options, points)
    return [OfflineSweep(open_journal(tmp_path / "journal.log"), sweep, options) for _ in range(2)]


@pytest.fixture
def grid(tmp_path: Path) -> list[OfflineSweep]:
    return make(tmp_path, GRID.replace("GOAL", "minimize"))


def claims(trials: OfflineSweep, worker: str) -> Iterator[Claim]:
    while (claim := trials.claim(worker)) is not None:
        yield claim


def test_each_point_of_a_grid_is_handed_out_once(grid: list[OfflineSweep]) -> None:
    first, second = grid
    taken: list[Claim] = []
    for trials in itertools.cycle(grid):
        claim = trials.claim("worker")
        if claim is None:
            break
        taken.append(claim)
    assert [claim.point for claim in taken] == list(range(6))
    given = {tuple(first.sweep.overrides(claim.raws)) for claim in taken}
    assert len(given) == 6
    assert not first.is_finished()
    for claim in taken:
        assert second.complete(claim, 1.0)
    assert first.is_finished()


def test_workers_at_different_positions_take_different_trials(grid: list[OfflineSweep]) -> None:
    positions = [grid[0].claim("a", 4), grid[1].claim("b", 1)]
    assert [claim.point for claim in positions if claim] == [4, 1]


def test_a_dead_workers_trial_runs_again_and_counts_its_deaths(grid: list[OfflineSweep]) -> None:
    first, second = grid
    claim = first.claim("dead")
    assert claim
    second.recover(lambda worker: worker != "dead")
    again = [each for each in claims(second, "alive") if each.point == claim.point]
    assert [(each.worker_deaths, each.raws) for each in again] == [(1, claim.raws)]
    assert not first.complete(claim, 1.0)  # it was only hung, and comes too late
    assert second.complete(again[0], 2.0)
    assert [trial.value for trial in first.latest() if trial.user_attrs["point"] == claim.point] == [2.0]


def test_two_who_notice_a_death_at_once_make_one_trial(grid: list[OfflineSweep]) -> None:
    first, second = grid
    claim = first.claim("dead")
    assert claim
    first.recover(lambda _: False)
    dead = first.storage.get_trial(claim.trial_id)
    second._add_copy(dead, 0, 1)  # what the other does who looked before the first had added its copy
    points = [each.point for each in claims(second, "alive")]
    assert sorted(points) == list(range(6))
    assert len(first._trials()) == 8


def test_a_trial_survives_a_helper_that_dies_between_two_steps(grid: list[OfflineSweep]) -> None:
    first, second = grid
    claim = first.claim("dead")
    assert claim
    first._end(claim.trial_id, "worker died", again=True, worker_deaths=1)  # and then it dies itself
    assert not second.is_finished()
    second.recover(lambda _: True)
    assert sorted(each.point for each in claims(second, "alive")) == list(range(6))


def test_a_trial_that_was_taken_but_not_signed_for_is_found(
    grid: list[OfflineSweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = grid
    (waiting, *_) = first._trials(TrialState.WAITING)
    assert first.storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
    second.recover(lambda _: True)
    assert second.storage.get_trial(waiting._trial_id).state == TrialState.RUNNING  # it may be signing just now
    monkeypatch.setattr(claims_module, "SECONDS_WITHOUT_OWNER", 0.0)
    second.recover(lambda _: True)
    assert sorted(each.point for each in claims(second, "alive")) == list(range(6))


def test_a_point_whose_workers_always_die_fails_in_the_end(grid: list[OfflineSweep]) -> None:
    trials = grid[0]
    list(claims(trials, "alive"))
    for trial in trials._trials(TrialState.RUNNING)[1:]:
        trials.complete(Claim(trial._trial_id, trial.user_attrs["point"], {}, 0, 0), 1.0)
    for _ in range(claims_module.MAX_WORKER_DEATHS + 1):
        trials.recover(lambda _: False)
        trials.claim("dies too")
    trials.recover(lambda _: False)
    assert trials.is_finished()
    (failed,) = [trial for trial in trials.latest() if has_failed(trial)]
    assert failed.user_attrs["end"]["reason"] == f"its worker died {claims_module.MAX_WORKER_DEATHS + 1} times"
    assert trials.revive() == 1
    assert not trials.is_finished()


def test_a_worker_that_is_killed_after_it_was_asked_to_stop_is_no_death(grid: list[OfflineSweep]) -> None:
    first, second = grid
    claim = first.claim("preempted")
    assert claim is not None
    first.announce_return(claim, "worker was asked to stop")
    second.recover(lambda _: False)
    again = next(each for each in claims(second, "alive") if each.point == claim.point)
    assert again.worker_deaths == 0
    ended = second.storage.get_trial(claim.trial_id)
    assert (ended.state, ended.user_attrs["end"]["reason"]) == (TrialState.FAIL, "worker was asked to stop")
    first.announce_return(claim, "too late")  # and nobody minds


def test_given_back_trials_go_on_and_failed_ones_do_not(grid: list[OfflineSweep]) -> None:
    first, second = grid
    one, two = first.claim("a"), first.claim("a")
    assert one
    assert two
    first.give_back(one, "interrupted", kills=1)
    first.fail(two, "it broke")
    left = {each.point: each for each in claims(second, "b")}
    assert sorted(left) == [0, 2, 3, 4, 5]
    assert left[0].kills == 1
    assert [trial.user_attrs["point"] for trial in second.latest() if has_failed(trial)] == [1]


@pytest.mark.parametrize(("goal", "worst"), [("minimize", math.inf), ("maximize", -math.inf)])
def test_a_value_that_is_no_number_is_worse_than_any(tmp_path: Path, goal: str, worst: float) -> None:
    trials, _ = make(tmp_path, GRID.replace("GOAL", goal))
    claim = trials.claim("a")
    assert claim
    assert trials.complete(claim, math.nan)
    assert trials.storage.get_trial(claim.trial_id).value == worst


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_trial_is_the_best_whose_value_is_not_finite(tmp_path: Path, goal: str, value: float) -> None:
    trials, _ = make(tmp_path, GRID.replace("GOAL", goal))
    of_points = {0: value, 1: 0.5, 2: value, 3: -7.0, 4: 3.0, 5: value}
    for claim in claims(trials, "a"):
        trials.complete(claim, of_points[claim.point])
    study = optuna.load_study(study_name=OPTIONS.sweep_id, storage=trials.storage)
    assert study.best_value == (-7.0 if goal == "minimize" else 3.0)
    folder = SimpleNamespace(run_id=str)
    rows = trial_rows(folder, trials.sweep, trials.latest())  # type: ignore[arg-type]
    best = best_row(rows, goal)
    assert best is not None
    assert best.number == (3 if goal == "minimize" else 4)
    left = [row for row in rows if not math.isfinite(of_points[row.number])]
    assert len(left) == 3
    assert all(row.metric is not None and math.isnan(row.metric) for row in left)
    assert best_row(left, goal) is None


def test_a_search_takes_what_is_not_finite_for_very_bad(tmp_path: Path) -> None:
    def suggested(bad: float) -> list[Any]:
        (tmp_path / str(bad)).mkdir()
        trials, _ = make(tmp_path / str(bad), SEARCH.replace("METHOD", "bayes"), count=20)
        taken = []
        for claim in claims(trials, "a"):
            taken.append(claim.raws)
            rate = claim.raws["training.learning_rate"]
            trials.complete(claim, bad if rate > 0.1 else math.log10(rate / 0.03) ** 2)
        return taken

    expected = suggested(1e9)
    assert suggested(-math.inf) == suggested(math.nan) == expected != suggested(-1e9)


@pytest.mark.parametrize(("goal", "value"), [("minimize", -math.inf), ("maximize", math.inf), ("minimize", math.nan)])
def test_an_evaluation_that_is_not_finite_is_not_among_the_best(tmp_path: Path, goal: str, value: float) -> None:
    early = "early_terminate: {type: hyperband, min_iter: 1, eta: 2}\n"
    trials, _ = make(tmp_path, early + GRID.replace("GOAL", goal))
    taken = list(claims(trials, "a"))
    for claim in taken[:-1]:
        trials.should_prune(claim, 1, 0.5)
    assert trials.should_prune(taken[-1], 1, value)
    assert trials.prune(taken[-1])


def test_random_points_depend_on_the_seed_alone(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    drawn = []
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        folder.mkdir()
        first, second = make(folder, SEARCH.replace("METHOD", "random"), 8, seed)
        taken = [first.claim("a"), *claims(second, "b")]  # whoever takes them
        drawn.append([each.raws for each in taken if each])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({raws["training.learning_rate"] for raws in drawn[0]}) == 8
    assert all(0.001 <= raws["training.learning_rate"] <= 1 for raws in drawn[0])


def test_bayes_finds_more_than_chance_and_copies_keep_their_parameters(tmp_path: Path) -> None:
    """A parabola in log10 of the rate, with its minimum at 0.03."""

    def loss(raws: dict[str, float]) -> float:
        return (math.log10(raws["training.learning_rate"]) - math.log10(0.03)) ** 2

    trials, other = make(tmp_path, SEARCH.replace("METHOD", "bayes"), 40)
    losses = []
    for turn in range(40):
        claim = trials.claim("a")
        assert claim
        if turn == 30:  # its worker dies; the point is tried again, not another one
            other.recover(lambda _: False)
            again = other.claim("b")
            assert again
            assert again.raws == claim.raws
            assert again.point == claim.point
            claim = again
        losses.append(loss(dict(claim.raws)))
        assert trials.complete(claim, losses[-1])
    assert trials.claim("a") is None
    assert sum(losses[20:]) / 20 < 0.5 * sum(losses[:10]) / 10


def test_successive_halving_ends_bad_trials_early(tmp_path: Path) -> None:
    text = GRID.replace("GOAL", "minimize") + "early_terminate: {type: hyperband, min_iter: 2, eta: 3}\n"
    trials, _ = make(tmp_path, text)
    ended = []
    for claim in claims(trials, "a"):
        value = float(claim.point)  # the first are the best
        verdicts = [trials.should_prune(claim, step, value) for step in (1, 2)]
        ended.append(verdicts)
        if any(verdicts):
            assert trials.prune(claim)
        else:
            assert trials.complete(claim, value)
    assert ended[0] == [False, False]  # nobody to compare with
    assert not any(first for first, _ in ended)  # never before min_iter evaluations
    assert all(second for _, second in ended[3:])
    assert [trial.state for trial in trials.latest()][-1] == TrialState.PRUNED
    assert trials.is_finished()


def test_the_journal_grows_with_the_points_and_not_with_their_square(tmp_path: Path) -> None:
    sizes = []
    for num_seeds in (100, 400):
        folder = tmp_path / str(num_seeds)
        folder.mkdir()
        make(folder, GRID.replace("GOAL", "minimize").replace("[0, 1]", str(list(range(num_seeds)))))
        sizes.append((folder / "journal.log").stat().st_size / num_seeds)
    assert sizes[1] < 1.1 * sizes[0]


def test_a_database_does_as_well(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(GRID.replace("GOAL", "minimize"))
    sweep = schema.read(path)
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    plan(optuna.storages.RDBStorage(url), sweep, OPTIONS, list(sweep.grid()))
    first, second = (OfflineSweep(optuna.storages.RDBStorage(url), sweep, OPTIONS) for _ in range(2))
    claim = first.claim("dead")
    assert claim
    second.recover(lambda _: False)
    assert sorted(each.point for each in claims(second, "alive")) == list(range(6))

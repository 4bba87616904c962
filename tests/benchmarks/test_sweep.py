import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import sweep
from benchmarks._sweep_simulation import Costs, Setting, Simulation, table
from benchmarks._sweep_trials import check_sweep, make_sweep, run_noop_trials, run_workers

ALONE = Setting(num_trials=20, num_workers=1, trial_seconds=10, workers_per_machine=1, cores_per_machine=1)
MANY = Setting(num_trials=400, num_workers=40, trial_seconds=1, workers_per_machine=4, cores_per_machine=4)


def test_a_journal_that_costs_nothing_keeps_nobody_waiting() -> None:
    outcome = Simulation(MANY, Costs()).run()
    assert outcome.waiting < 1e-3  # first looks at the link, at the start
    assert 10 <= outcome.seconds < 12
    assert (outcome.lock_in_use, outcome.num_lost_claims) == (0, 0)


def test_the_costs_of_one_worker_are_counted_by_hand() -> None:
    ideal = Simulation(ALONE, Costs()).run().seconds
    outcome = Simulation(ALONE, Costs(append=0.1, planned_bytes=100, entry_bytes=10)).run()
    assert outcome.seconds == pytest.approx(ideal + 20 * 3 * 0.1)
    assert outcome.lock_in_use == pytest.approx(20 * 3 * 0.1 / outcome.seconds)
    assert outcome.longest_unsigned == pytest.approx(0.1)
    assert outcome.journal_bytes == 20 * (100 + 3 * 10)
    # It looks five times for each trial, but once less before the end of the last; scans once for each.
    outcome = Simulation(ALONE, Costs(read=0.1)).run()
    assert outcome.seconds == pytest.approx(ideal + (20 * 5 - 1) * 0.1)
    assert Simulation(ALONE, Costs(scan=0.1)).run().seconds == pytest.approx(ideal + 20 * 20 * 0.1)
    # The plan; after that, each entry once, those of the last end not before it.
    assert Simulation(ALONE, Costs(replay=0.1)).run().seconds == pytest.approx(ideal + (20 + 3 * 20 - 1) * 0.1)


def test_appends_of_many_workers_come_one_after_the_other() -> None:
    costs = Costs(append=0.05)
    outcome = Simulation(MANY, costs).run()
    num_appends = 3 * MANY.num_trials + outcome.num_lost_claims
    assert outcome.num_lost_claims > 0
    assert num_appends * costs.append <= outcome.seconds < 1.5 * num_appends * costs.append
    assert outcome.lock_in_use == pytest.approx(num_appends * costs.append / outcome.seconds)
    one_machine = Simulation(dataclasses.replace(MANY, workers_per_machine=40), costs).run()  # which need not poll
    assert one_machine.lock_in_use > 0.99 > outcome.lock_in_use


def test_workers_of_a_machine_share_its_cores() -> None:
    setting = dataclasses.replace(MANY, num_trials=4, num_workers=4, trial_seconds=0.0)
    one, two = (dataclasses.replace(setting, cores_per_machine=cores) for cores in (1, 2))
    costs = Costs(scan=0.1)
    assert Simulation(one, costs).run().seconds == pytest.approx(2 * Simulation(two, costs).run().seconds)


def test_the_table_says_what_limits() -> None:
    ideal = Simulation(MANY, Costs()).run()
    *_, cheap, dear = table((MANY, Simulation(MANY, Costs(append=each)).run(), ideal) for each in (0.0001, 0.1))
    assert cheap.startswith("| 40 | 1 s | 1")
    assert cheap.endswith("| the trials |")
    assert dear.endswith("| the lock |")


def test_lost_trials_are_found(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "sweep", 6)
    _, counts = run_workers(folder, 2, run_noop_trials)
    assert sum(counts.values()) == 6
    check_sweep(folder, counts, 6)
    with pytest.raises(RuntimeError, match="trials were lost or run twice"):
        check_sweep(folder, {**counts, "worker-0": counts["worker-0"] + 1}, 6)
    with pytest.raises(RuntimeError, match="trials were lost or run twice"):
        check_sweep(folder, counts, 7)


def test_the_benchmark_prints_json_lines_and_a_table() -> None:
    sizes = ["--trials", "5", "--repeats", "1", "--workers", "4", "--simulated-trials", "20", "--append-ms", "5"]
    command = [sys.executable, "-m", "iclgd.cli", "bench", "sweep", "--simulate", *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    overhead, workers, costs, *compared = (line for line in lines if line["benchmark"] != "sweep/cluster")
    assert (overhead["trials"], workers["workers"], workers["lost_or_run_twice"]) == (5, 4, 0)
    assert 0 < overhead["plain_milliseconds"] < overhead["milliseconds"]
    assert all(costs[name] > 0 for name in vars(Costs()))
    assert [line["workers"] for line in compared] == [1, 4]
    assert all(0.3 < line["simulated_is_times_measured"] < 3 for line in compared)
    assert len([line for line in lines if line["benchmark"] == "sweep/cluster"]) == 9
    assert done.stderr.splitlines()[-1].startswith("| 1000 | 600 s | ")


@pytest.mark.parametrize(("option", "value"), [("--trials", "0"), ("--workers", "-1"), ("--append-ms", "0")])
def test_bad_options_are_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sweep.parse([option, value])
    assert f"argument {option}: must be positive" in capsys.readouterr().err

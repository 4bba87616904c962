"""What a sweep's local engine costs: milliseconds a trial, and how many workers one journal bears.

Overhead: a worker runs trials that do nothing, by the same code as real ones; before each, a plain loop starts and
awaits the same process. Workers: many at once on one journal, checked for trials that are lost or run twice. With
--simulate, a sweep of a thousand workers is simulated with the costs that were measured; first, simulations of a few
workers are compared with measurements.
"""

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from benchmarks._sweep_simulation import Costs, Outcome, Setting, Simulation, table
from benchmarks._sweep_trials import (
    TRIAL_SECONDS,
    TimedWorker,
    check_sweep,
    former_signal_handlers,
    make_sweep,
    run_noop_trials,
    run_sleeping_trials,
    run_workers,
)
from iclgd.sweeps.trials.journal import open_journal
from iclgd.sweeps.workers.options import WorkerOptions

WINDOW = 100  # trials, at the beginning and at the end of a sweep
NUM_APPENDS = 200  # that are timed
SIMULATED_WORKERS = (10, 100, 1000)
SIMULATED_SECONDS = (10, 60, 600)


def measure_overhead(place: Path, num_trials: int, repeats: int) -> dict[str, Any]:
    """Run sweeps of one worker; return medians in milliseconds."""
    cycles, plain = [], []
    for repeat in range(repeats):
        folder = make_sweep(place / f"overhead-{num_trials}-{repeat}", num_trials)
        worker = TimedWorker(folder, WorkerOptions("worker"), beside_plain=True)
        with former_signal_handlers():
            worker.work()
        check_sweep(folder, {"worker": worker.num_trials}, num_trials)
        cycles.append(worker.cycles)
        plain.append(worker.plain[: len(worker.cycles)])
    differences = [[ours - base for ours, base in zip(*pair, strict=True)] for pair in zip(cycles, plain, strict=True)]
    record = {
        "benchmark": "sweep/overhead",
        "trials": num_trials,
        "repeats": repeats,
        "milliseconds": median_milliseconds(cycles),
        "plain_milliseconds": median_milliseconds(plain),
        "difference_milliseconds": median_milliseconds(differences),
    }
    if num_trials > 2 * WINDOW:
        record["difference_of_first"] = median_milliseconds([each[:WINDOW] for each in differences])
        record["difference_of_last"] = median_milliseconds([each[-WINDOW:] for each in differences])
    return record


def median_milliseconds(samples: list[list[float]]) -> float:
    """Return the median over all samples of seconds."""
    return round(1000 * statistics.median(value for sample in samples for value in sample), 2)


def measure_workers(place: Path, num_workers: int, num_trials: int) -> dict[str, Any]:
    """Run trials that do nothing on many workers."""
    folder = make_sweep(place / f"workers-{num_workers}", num_trials)
    seconds, counts = run_workers(folder, num_workers, run_noop_trials)
    check_sweep(folder, counts, num_trials)
    return {
        "benchmark": "sweep/workers",
        "workers": num_workers,
        "trials": num_trials,
        "lost_or_run_twice": 0,
        "seconds": round(seconds, 2),
        "trials_per_second": round(num_trials / seconds, 1),
    }


def measure_costs(place: Path, num_trials: int) -> Costs:
    """Time what the simulation needs to know."""
    folder = make_sweep(place / "costs", num_trials)
    planned_bytes = folder.journal.stat().st_size
    storage = open_journal(folder.journal)
    replay = seconds_of(lambda: open_journal(folder.journal), 3) / num_trials
    append, entry_bytes = measure_append(place / "append")
    look = seconds_of(lambda: storage.get_study_user_attrs(0), NUM_APPENDS)
    # Half of the trials wait on average.
    scan = seconds_of(lambda: storage.get_all_trials(0, deepcopy=False, states=(TrialState.WAITING,)), 100) - look
    return Costs(append, look, replay, scan / num_trials, planned_bytes / num_trials, entry_bytes)


def measure_append(path: Path) -> tuple[float, float]:
    """Return seconds and bytes of an entry."""
    journal = make_sweep(path, 1).journal
    storage, size = open_journal(journal), journal.stat().st_size
    seconds = seconds_of(lambda: storage.set_trial_user_attr(0, "worker", "a-host-name-0-1a2b3c"), NUM_APPENDS)
    return seconds, (journal.stat().st_size - size) / NUM_APPENDS


def seconds_of(action: Callable[[], object], repeats: int) -> float:
    """Return mean seconds: rare long ones count, too."""
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    return (time.perf_counter() - start) / repeats


def compare_with_simulation(
    place: Path, num_workers: int, num_trials: int, costs: Costs, repeats: int
) -> dict[str, Any]:
    """Run trials that sleep on many workers, and simulate the same; return medians."""
    setting = Setting(num_trials, num_workers, TRIAL_SECONDS, num_workers, len(os.sched_getaffinity(0)))
    appends, measured, simulated = [], [], []
    for repeat in range(repeats):
        name = f"{num_workers}-{repeat}"
        folder = make_sweep(place / f"sleep-{name}", num_trials)
        before = measure_append(place / f"before-{name}")[0]
        seconds, counts = run_workers(folder, num_workers, run_sleeping_trials)
        after = measure_append(place / f"after-{name}")[0]
        check_sweep(folder, counts, num_trials)
        appends.append((before + after) / 2)
        measured.append(num_trials / seconds)
        simulated.append(num_trials / Simulation(setting, dataclasses.replace(costs, append=appends[-1])).run().seconds)
    ratios = [second / first for first, second in zip(measured, simulated, strict=True)]
    return {
        "benchmark": "sweep/simulation",
        "workers": num_workers,
        "trials": num_trials,
        "trial_seconds": TRIAL_SECONDS,
        "repeats": repeats,
        "append_milliseconds": median_milliseconds([appends]),
        "measured_trials_per_second": round(statistics.median(measured), 1),
        "simulated_trials_per_second": round(statistics.median(simulated), 1),
        "ideal_trials_per_second": round(num_workers / TRIAL_SECONDS, 1),
        "simulated_is_times_measured": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
    }


def simulate(options: argparse.Namespace, costs: Costs, append_ms: float) -> Iterator[tuple[Setting, Outcome, Outcome]]:
    """Simulate sweeps on a cluster where an append takes so long; give the same without a journal's costs, too."""
    there = dataclasses.replace(costs, append=append_ms / 1000, read=options.read_ms / 1000)
    for workers, seconds in itertools.product(SIMULATED_WORKERS, SIMULATED_SECONDS):
        each = options.workers_per_machine
        setting = Setting(options.simulated_trials, workers, seconds, each, cores_per_machine=each)
        yield setting, Simulation(setting, there).run(), Simulation(setting, Costs()).run()


def main() -> int:
    options = parse(sys.argv[1:])
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        place = Path(folder)
        for number in options.trials:
            tell(measure_overhead(place, number, options.repeats))
        tell(measure_workers(place, options.workers, 20 * options.workers))
        if options.simulate:
            costs = measure_costs(place, 2000)
            tell({"benchmark": "sweep/costs", **{name: float(f"{value:.3g}") for name, value in vars(costs).items()}})
            for workers in (options.workers // 4 or 1, options.workers):
                tell(compare_with_simulation(place, workers, 20 * workers, costs, options.repeats))
    if options.simulate:
        for append_ms in options.append_ms:
            results = list(simulate(options, costs, append_ms))
            for setting, outcome, ideal in results:
                numbers = dataclasses.asdict(setting) | dataclasses.asdict(outcome) | {"ideal_seconds": ideal.seconds}
                rounded = {name: round(number, 4) for name, number in numbers.items()}
                tell({"benchmark": "sweep/cluster", "append_ms": append_ms, **rounded})
            print(f"\n{options.simulated_trials} trials, {append_ms:g} ms an append:\n", file=sys.stderr)
            print(*table(results), sep="\n", file=sys.stderr)
    return 0


def tell(record: dict[str, Any]) -> None:
    """Print a JSON line."""
    print(json.dumps(record), flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="iclgd bench sweep", description=__doc__)
    parser.add_argument("--trials", nargs="+", type=int, default=[10, 100, 2000], help="sizes (default: 10 100 2000)")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement (default: 3)")
    parser.add_argument("--workers", type=int, default=32, help="at once on one journal (default: 32)")
    parser.add_argument(
        "--folder", type=Path, help="on the file system to measure (default: the system's for temporary files)"
    )
    parser.add_argument("--simulate", action="store_true", help="a thousand workers")
    parser.add_argument("--simulated-trials", type=int, default=10_000, help="(default: 10000)")
    parser.add_argument("--workers-per-machine", type=int, default=8, help="simulated (default: 8)")
    parser.add_argument(
        "--append-ms", nargs="+", type=float, default=[5.0, 20.0], help="of an append there (default: 5 20)"
    )
    parser.add_argument("--read-ms", type=float, default=1.0, help="of a look at the journal there (default: 1)")
    options = parser.parse_args(arguments)
    for name in ("trials", "repeats", "workers", "simulated_trials", "workers_per_machine", "append_ms", "read_ms"):
        values = getattr(options, name)
        if min(values if isinstance(values, list) else [values]) <= 0:
            parser.error(f"argument --{name.replace('_', '-')}: must be positive")
    return options


if __name__ == "__main__":
    sys.exit(main())

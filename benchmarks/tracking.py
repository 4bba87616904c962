"""What tracking costs: the same run with ``tracking.mode=offline`` and ``disabled``, in pairs, as whole processes."""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = Path(__file__).parents[1] / "configs" / "regression" / "one_layer.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="pairs (default: 5)")
    parser.add_argument("--steps", type=int, default=2000, help="of the optimiser (default: 2000)")
    arguments = parser.parse_args()
    walls, processors = [], []
    for pair in range(arguments.repeats):
        order = ("offline", "disabled") if pair % 2 == 0 else ("disabled", "offline")
        found = {mode: measure(mode, arguments.steps) for mode in order}
        walls.append(found["offline"][0] / found["disabled"][0])
        processors.append(found["offline"][1] / found["disabled"][1])
        seconds = ", ".join(f"{mode} {wall:.2f} s (processors {cpu:.2f} s)" for mode, (wall, cpu) in found.items())
        print(f"pair {pair + 1}: {seconds}; offline / disabled {walls[-1]:.3f}", flush=True)
    print(f"offline / disabled, medians of {len(walls)} pairs: {statistics.median(walls):.3f} of the time, ", end="")
    print(f"{statistics.median(processors):.3f} of the processors' time")


def measure(mode: str, steps: int) -> tuple[float, float]:
    """Return the seconds of a run: of the clock, and of all its processes together."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [
                sys.executable,
                "-m",
                "iclgd.cli",
                "run",
                str(CONFIG),
                f"trainer.max_steps={steps}",
                f"tracking.mode={mode}",
            ],
            env={"ICLGD_RUNS": folder, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": folder},
            capture_output=True,
            check=True,
        )
        wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()

"""What runs were made on and with: where they differ, all values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from iclgd import __version__
from iclgd.review.gather import ReviewedRun
from iclgd.review.texts import counted, listed, shortened

MOST_VALUES = 6
KEYS = ("python", "commit", "platform", "device", "world_size")


def environment_of(runs: Sequence[ReviewedRun]) -> list[tuple[str, str]]:
    """Return names and values; of those that differ, each with the number of runs that have it."""
    found: dict[str, dict[str, int]] = {}
    for run in runs:
        for name, value in _entries(run.environment):
            counts = found.setdefault(name, {})
            counts[value] = counts.get(value, 0) + 1
    return [(name, _text(counts, len(runs))) for name, counts in found.items()]


def other_versions(runs: Sequence[ReviewedRun]) -> list[str]:
    """Return a line for each version of the program, other than this one, that has made runs."""
    counts: dict[str, int] = {}
    for run in runs:
        if run.environment and run.version != __version__:
            version = shortened(run.version) or "unknown"
            counts[version] = counts.get(version, 0) + 1
    return [
        f"{counted(number, 'run')} of version {version}, not {__version__}: shown; defaults that have changed "
        "since make another setting of them"
        for version, number in counts.items()
    ]


def _text(counts: Mapping[str, int], total: int) -> str:
    if len(counts) == 1 and sum(counts.values()) == total:
        return next(iter(counts))
    texts = [f"{value} ({counted(number, 'run')})" for value, number in counts.items()]
    if missing := total - sum(counts.values()):
        texts.append(f"not known ({counted(missing, 'run')})")
    return listed(texts, MOST_VALUES)


def _entries(environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    packages = environment.get("packages")
    versions = packages if isinstance(packages, Mapping) else {}
    if "iclgd" in versions:
        yield "iclgd", shortened(versions["iclgd"])
    for key in KEYS:
        if environment.get(key) is not None:
            yield key, shortened(environment[key], 80)
    processes = environment.get("processes")
    hosts = {
        shortened(process.get("host"))
        for process in (processes if isinstance(processes, list) else [])
        if isinstance(process, Mapping) and process.get("host")
    }
    if hosts:
        yield "hosts", listed(sorted(hosts))
    for name, version in versions.items():
        if name != "iclgd" and version is not None:
            yield shortened(name), shortened(version)

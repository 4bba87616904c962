"""Records of runs that have not changed since they were read, kept from one command to the next."""

import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from iclgd.runs.cache import read_cache, write_cache
from iclgd.runs.records import RunRecord, Value
from iclgd.runs.search import Found

SECONDS_UNTIL_SETTLED = 2.0  # a file that is written twice within a tick of the system's clock has one time


class RunIndex:
    """What is known of the runs below some folders; a memory for :func:`iclgd.runs.records.find_records`.

    Runs share most of their keys, their names of numbers and their environments: these are kept once.

    Args:
        paths: the folders.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        roots = "\0".join(sorted(str(path.resolve()) for path in paths))
        self._name = f"runs-{hashlib.sha256(roots.encode()).hexdigest()[:16]}.json"
        content = read_cache(self._name) or {"runs": {}, "names": [], "environments": []}
        self._known: dict[str, Any] = content["runs"]
        self._names: list[list[str]] = content["names"]
        self._environments: list[dict[str, Any]] = content["environments"]
        self._numbers_of_names = {tuple(names): number for number, names in enumerate(self._names)}
        self._numbers_of_environments = {repr(each): number for number, each in enumerate(self._environments)}
        self._of_now: dict[str, Any] = {}
        self._num_new = 0
        self._now = time.time()

    def recall(self, found: Found) -> RunRecord | None:
        """Return the record of a run as it is now, if it is known."""
        kept = self._known.get(found.path)
        if kept is None or kept[0] != found.stamp:
            return None
        self._of_now[found.path] = kept
        _, state, keys, values, names, numbers, environment, when, problem = kept
        return RunRecord(
            Path(found.path),
            state,
            dict(zip(self._names[keys], map(_restored, values), strict=True)),
            dict(zip(self._names[names], numbers, strict=True)),
            self._environments[environment],
            None if when is None else datetime.fromtimestamp(when, UTC),
            problem,
        )

    def keep(self, found: Found, record: RunRecord) -> None:
        """Take a record that has just been read."""
        self._num_new += 1
        if found.newest > self._now - SECONDS_UNTIL_SETTLED:
            return
        self._of_now[found.path] = (
            found.stamp,
            record.state,
            self._number_of_names(record.config),
            list(record.config.values()),
            self._number_of_names(record.summary),
            list(record.summary.values()),
            self._number_of_environment(record.environment),
            None if record.when is None else record.when.timestamp(),
            record.problem,
        )

    def save(self) -> None:
        """Write what is known now, if it is not what was known before."""
        if self._num_new or len(self._of_now) < len(self._known):
            content = {"runs": self._of_now, "names": self._names, "environments": self._environments}
            write_cache(self._name, content)

    def _number_of_names(self, named: Any) -> int:
        names = tuple(named)
        if names not in self._numbers_of_names:
            self._numbers_of_names[names] = len(self._names)
            self._names.append(list(names))
        return self._numbers_of_names[names]

    def _number_of_environment(self, environment: Any) -> int:
        text = repr(environment)
        if text not in self._numbers_of_environments:
            self._numbers_of_environments[text] = len(self._environments)
            self._environments.append(dict(environment))
        return self._numbers_of_environments[text]


def _restored(value: Any) -> Value:
    """Return a value of a config, of which JSON has made lists of tuples."""
    return tuple(map(_restored, value)) if type(value) is list else value

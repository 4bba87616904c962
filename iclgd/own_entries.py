"""A user's own entries: Python files that add to the registries, named on the command line with ``--import``.

Nowhere else can they be named. A config, a run directory or a sweep's folder that somebody else has made runs no code.
"""

import hashlib
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from iclgd.checks import InputError
from iclgd.files import no_such_file, read_text
from iclgd.terminal import say

RECORDED = "imports"  # the key of environment.json
# Of every registry: its module, its name there, the class of its entries (of a task, the class itself is one), and what
# names may have beside letters and digits.
REGISTRIES = (
    ("iclgd.experiments", "EXPERIMENTS", "ExperimentEntry", "_"),
    ("iclgd.experiments.analyses", "ANALYSES", "Analysis", "_"),
    ("iclgd.analysis.learners", "LEARNERS", "Learner", "_"),
    ("iclgd.data", "REGRESSION_TASKS", "RegressionTask", "_"),
    ("iclgd.measures", "TEXT_METRICS", "TextMetric", "_/"),
    ("iclgd.measures", "CONTROLS", "Control", "_"),
    ("iclgd.measures", "ERRORS", "ErrorMetric", "_"),
    ("iclgd.measures", "ALIGNMENTS", "AlignmentMetric", "_"),
)


class OwnEntriesError(InputError):
    """A file of own entries that cannot be used."""


@dataclass(frozen=True)
class ImportedFile:
    """A file as it was when it was run."""

    path: str
    sha256: str


def load(paths: Sequence[Path]) -> list[ImportedFile]:
    """Run files, each of which adds entries to registries; return what they were.

    Args:
        paths: in this order; one that is named twice is run once.

    Raises:
        InputError: for a file that is missing or no Python, that raises, or whose entries are none.
    """
    texts = {path: _read(path) for path in paths}
    imported: list[ImportedFile] = []
    for path, text in texts.items():
        if (file := _describe(path, text)) not in imported:
            _run(path, text, file)
            _check_entries(path)
            imported.append(file)
    return imported


def describe(paths: Sequence[Path]) -> list[ImportedFile]:
    """Return what files are without running them.

    Raises:
        InputError: for a file that is missing.
    """
    return [_describe(path, _read(path)) for path in paths]


def record(environment: dict[str, Any], imported: Sequence[ImportedFile]) -> dict[str, Any]:
    """Return what ``environment.json`` holds, with files: those of an earlier part of the run stay beside new ones."""
    files = [*_recorded(environment), *imported]
    return {**environment, RECORDED: [asdict(file) for file in dict.fromkeys(files)]} if files else environment


def compare(
    environment: dict[str, Any], imported: Sequence[ImportedFile], where: Path, again: str, is_first: bool = True
) -> None:
    """Refuse to go on with a run, or a sweep, without a file that it was made with; tell of one that has changed since.

    A file is known by its name: it may have moved. It may change, as an analysis that fails must be mended somewhere;
    both versions are recorded.

    Args:
        environment: what the run's ``environment.json`` holds.
        imported: what is there now.
        where: the run's directory, or the sweep's folder.
        again: the command that goes on, without ``--import``.
        is_first: whether this process tells.

    Raises:
        OwnEntriesError: which says what to type.
    """
    now = {Path(file.path).name: file for file in imported}
    then = {Path(file.path).name: file for file in _recorded(environment)}  # of several versions the last
    if missing := [file for name, file in then.items() if name not in now]:
        options = " ".join(f"--import {file.path}" for file in then.values())
        names = ", ".join(f"{Path(file.path).name} (sha256 {file.sha256[:8]}...)" for file in missing)
        raise OwnEntriesError(f"{where}: made with own entries of {names}; go on with: {again} {options}")
    for name, file in then.items():
        if now[name].sha256 != file.sha256 and is_first:
            say(
                f"{now[name].path}: has changed since it was last used here (sha256 {file.sha256[:8]}... then, "
                f"{now[name].sha256[:8]}... now); going on with it as it is"
            )


def arguments(paths: Sequence[Path]) -> list[str]:
    """Return the arguments by which another process gets the same files, wherever it is started."""
    return [text for path in paths for text in ("--import", str(path.absolute()))]


def recorded_paths(environment: dict[str, Any]) -> list[Path]:
    """Return the files that an ``environment.json`` or a sweep's folder names, each once."""
    return list(dict.fromkeys(Path(file.path) for file in _recorded(environment)))


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        raise no_such_file(path) from None


def _describe(path: Path, text: str) -> ImportedFile:
    return ImportedFile(str(path.absolute()), hashlib.sha256(text.encode()).hexdigest())


def _recorded(environment: dict[str, Any]) -> list[ImportedFile]:
    """Return what an environment holds, as far as it can be read."""
    files = environment.get(RECORDED)
    return [
        ImportedFile(file["path"], file["sha256"])
        for file in (files if isinstance(files, list) else [])
        if isinstance(file, dict) and all(isinstance(file.get(key), str) for key in ("path", "sha256"))
    ]


def _run(path: Path, text: str, file: ImportedFile) -> None:
    """Run a file as a module of its own, which dataclasses and pickles find by its name."""
    module = ModuleType(f"iclgd_own_{file.sha256[:16]}")
    module.__file__ = file.path
    sys.modules[module.__name__] = module
    try:
        exec(compile(text, file.path, "exec", dont_inherit=True), module.__dict__)  # named by the user
    except SyntaxError as error:
        if error.filename != file.path:  # of another file that it imports
            raise OwnEntriesError(f"{path}: {error.filename}: line {error.lineno}: {error.msg}") from None
        raise OwnEntriesError(f"{path}: line {error.lineno}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file.path]
        said = next((line for line in str(error).splitlines() if line.strip()), "")
        where = f"line {lines[-1]}: " if lines else ""
        raise OwnEntriesError(f"{path}: {where}{type(error).__name__}{f': {said}' if said else ''}") from None


def _check_entries(path: Path) -> None:
    """Refuse entries that are none: what was never imported has no new ones."""
    for module_name, registry, kind_name, signs in REGISTRIES:
        if (module := sys.modules.get(module_name)) is None:
            continue
        kind = getattr(module, kind_name)
        for name, entry in getattr(module, registry).items():
            if not isinstance(name, str) or not re.fullmatch(rf"[A-Za-z][A-Za-z0-9{signs}]*", name):
                allowed = " and ".join(map(repr, signs))
                raise OwnEntriesError(
                    f"{path}: {registry}: a name has letters, digits and {allowed} only, got {name!r}"
                )
            if not (isinstance(entry, kind) or (isinstance(entry, type) and issubclass(entry, kind))):
                raise OwnEntriesError(f"{path}: {registry}[{name!r}] must be of {kind_name}, got {entry!r:.80}")

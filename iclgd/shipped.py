"""Configs, ready sweeps and benchmarks by name, from any folder.

In a checkout their folders stand at its top, beside the package; the wheel has them in ``iclgd/assets/``.
"""

import contextlib
from pathlib import Path

from iclgd.checks import InputError, did_you_mean

PACKAGE = Path(__file__).parent
FILES = {"config": "configs/**/*.yaml", "sweep": "sweeps/*.yaml", "benchmark": "benchmarks/[a-z]*.py"}
ENDINGS = (".yaml", ".yml")


def place() -> Path:
    """Return where the folders of these files are."""
    installed = PACKAGE / "assets"
    return installed if (installed / "configs").is_dir() else PACKAGE.parent


def names(kind: str) -> dict[str, Path]:
    """Return the files that ship by their names, without endings; of several that share one, with their folders.

    Args:
        kind: ``"config"``, ``"sweep"`` or ``"benchmark"``.

    Example:
        >>> sorted(names("sweep"))[-1]
        'text_finetuning_laptop'
    """
    paths = sorted(place().glob(FILES[kind]))
    stems = [path.stem for path in paths]
    return {path.stem if stems.count(path.stem) == 1 else _with_folder(path): path for path in paths}


def find(kind: str, given: str | Path) -> Path:
    """Return the file that is meant by a path or, if there is no such file, by a name such as ``one_layer``.

    The folder may be said, too: ``regression/one_layer``.

    Args:
        kind: ``"config"`` or ``"sweep"``.
        given: what the user has typed.

    Returns:
        the file, which need not exist if a path ends in ``.yaml``: whoever reads it says so.

    Raises:
        InputError: for an unknown name, or one of several files.

    Example:
        >>> find("config", "one_layer").name
        'one_layer.yaml'
        >>> find("config", "one_lair")
        Traceback (most recent call last):
        iclgd.checks.InputError: one_lair: no config of this name and no such file; did you mean one_layer?
    """
    path, name = Path(given), str(given)
    with contextlib.suppress(OSError):  # a name that no file can have
        if path.exists() and not path.is_dir():
            return path
    known = names(kind)
    meant = {each: file for each, file in known.items() if name in (each, _with_folder(file))}
    if len(meant) == 1:
        return next(iter(meant.values()))
    if several := [each for each in known if each.endswith(f"/{name}")]:
        raise InputError(f"{name}: several {kind}s have this name; say which: {' or '.join(several)}")
    if path.suffix not in ENDINGS:
        beside = [*Path().glob(f"*{ENDINGS[0]}"), *path.parent.glob(f"*{ENDINGS[0]}")]
        hint = did_you_mean(name, [*known, *map(str, beside)])
        raise InputError(f"{name}: no {kind} of this name and no such file{hint or '; see: iclgd list'}")
    if path.stem in known:
        raise InputError(f"{name}: no such file; did you mean {path.stem}, the {kind} that comes with iclgd?")
    return path


def _with_folder(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"

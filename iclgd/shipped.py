"""Configs, ready sweeps, benchmarks and papers by name, from any folder.

In a checkout their folders stand at its top, beside the package; the wheel has them in ``iclgd/assets/``.
"""

import contextlib
from pathlib import Path

from iclgd.checks import InputError, did_you_mean

PACKAGE = Path(__file__).parent
FILES = {
    "config": "configs/**/*.yaml",
    "sweep": "sweeps/*.yaml",
    "benchmark": "benchmarks/[a-z]*.py",
    "paper": "papers/*/*.yaml",
}
ENDINGS = (".yaml", ".yml")


def place() -> Path:
    """Return where the folders of these files are."""
    installed = PACKAGE / "assets"
    return installed if (installed / "configs").is_dir() else PACKAGE.parent


def names(kind: str) -> dict[str, Path]:
    """Return the files that ship by their names, without endings.

    With their folders are variants, such as ``dai2023/sst2`` in ``text/dai2023/``, and several that share a name.

    Args:
        kind: ``"config"``, ``"sweep"``, ``"benchmark"`` or ``"paper"``.

    Example:
        >>> sorted(names("sweep"))[-1]
        'text_finetuning_laptop'
        >>> [name for name in names("config") if name.endswith("sst2")]
        ['dai2023/sst2', 'sst2']
    """
    paths = sorted(place().glob(FILES[kind]))
    stems = [path.stem for path in paths if not _is_variant(path)]
    return {
        path.stem if stems.count(path.stem) == 1 and not _is_variant(path) else _with_folder(path): path
        for path in paths
    }


def find(kind: str, given: str | Path) -> Path:
    """Return the file that is meant by a path or, if there is no such file, by a name such as ``one_layer``.

    The folder may be said, too: ``regression/one_layer``.

    Args:
        kind: ``"config"``, ``"sweep"`` or ``"paper"``.
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
    meant = [file for each, file in known.items() if name in (each, _with_folder(file), _with_folders(file))]
    if len(meant) == 1:
        return meant[0]
    if several := [each for each in known if each.endswith(f"/{name}")]:
        raise InputError(f"{name}: several {kind}s have this name; say which: {' or '.join(several)}")
    if path.suffix not in ENDINGS:
        beside = [*Path().glob(f"*{ENDINGS[0]}"), *path.parent.glob(f"*{ENDINGS[0]}")]
        hint = did_you_mean(name, [*known, *map(str, beside)])
        raise InputError(f"{name}: no {kind} of this name and no such file{hint or '; see: iclgd list'}")
    if path.stem in known:
        raise InputError(f"{name}: no such file; did you mean {path.stem}, the {kind} that comes with iclgd?")
    return path


def runs_are_called() -> dict[str, Path]:
    """Return the configs that ship by the names of their runs' folders, such as ``dai2023_sst2``."""
    return {name.replace("/", "_"): path for name, path in names("config").items()}


def _with_folder(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def _with_folders(path: Path) -> str:
    """Return a file's name with all folders below the one that has its kind."""
    return "/".join(path.relative_to(place()).with_suffix("").parts[1:])


def _is_variant(path: Path) -> bool:
    """Say whether a file stands in a folder of an experiment's folder: it varies what has the plain name."""
    return _with_folders(path).count("/") > 1

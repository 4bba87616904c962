"""Where the files of a language model are, how transformers is asked for them, and what is said if it fails."""

import contextlib
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from iclgd.hub import connection_problem
from iclgd.messages import all_lines

GGUF = ".gguf"
EMBEDDED = "embedded"  # the name of the model that ships with the package
EMBEDDED_FOLDER = Path(__file__).parents[1] / "assets" / "embedded"


@dataclass(frozen=True)
class ModelFiles:
    """A folder, or a name on the hub, and which file of it has everything, if one has.

    Args:
        folder: or name.
        gguf: a file of llama.cpp's format, with config, weights and tokenizer; ``None``: transformers' own files.
    """

    folder: str
    gguf: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of all loaders: nobody's code is run, and without a connection only the cache is asked.

        Example:
            >>> locate("embedded").arguments()
            {'trust_remote_code': False, 'local_files_only': True}
        """
        is_local = Path(self.folder).is_dir() or connection_problem() is not None
        which = {} if self.gguf is None else {"gguf_file": self.gguf}
        return {"trust_remote_code": False, "local_files_only": is_local, **which}


def locate(name: str) -> ModelFiles:
    """Return where the files are that a config names.

    Example:
        >>> locate("models/tiny.gguf")
        ModelFiles(folder='models', gguf='tiny.gguf')
    """
    if name.endswith(GGUF):
        return ModelFiles(str(Path(name).parent), Path(name).name)
    return ModelFiles(str(EMBEDDED_FOLDER) if name == EMBEDDED else name)


def not_loaded(kind: str, name: str, error: Exception, key: str) -> str:
    """Return one line of a loader's message.

    Args:
        kind: of what was not loaded, ``model`` or ``tokenizer``.
        name: as the config has it.
        error: what the loader raised.
        key: of the config.
    """
    path = Path(name)
    ending = GGUF if name.endswith(GGUF) else "/"
    if path.exists():
        of = f" ({first_sentence(error)})"
        if ending == "/" and (files := sorted(each.name for each in path.glob(f"*{GGUF}"))):
            of = f"; did you mean {path / files[0]}?{of}"
        return f"{key}: the {kind} in {name} cannot be loaded{of}"
    near = {str(each): each.name for each in path.parent.glob(f"*{ending}")} | {EMBEDDED: EMBEDDED}
    close = difflib.get_close_matches(path.name, near.values(), n=1)
    hint = next((f"; did you mean {each}?" for each, its_name in near.items() if its_name in close), "")
    if ending == GGUF and path.parent.is_dir():
        return f"{key}: there is no file {name}{hint}"
    reason = connection_problem() or first_sentence(error)
    what = "file" if ending == GGUF else "folder"
    return f"{key}: {name} is no {what}, and no {kind} of that name could be fetched{hint} ({reason})"


def first_sentence(error: Exception) -> str:
    """Return the beginning of a message that may be long."""
    return all_lines(error).partition(". ")[0][:200]


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep the library silent within the block, as it is once something has been loaded, and give its voice back."""
    logging = transformers.utils.logging
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    silence()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


def silence() -> None:
    """Keep the library's progress bars and advice from between our lines."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()

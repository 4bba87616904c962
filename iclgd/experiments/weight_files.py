"""The weights of a run's models: written to its directory, and read into models of the same shape."""

from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from iclgd.tracking.run_directory import WEIGHTS, RunDirectory, RunDirectoryError


def write_weights(directory: RunDirectory, models: Mapping[str, nn.Module]) -> None:
    """Write all weights.

    Args:
        directory: the run's.
        models: by what their weights' names begin with, such as ``"transformer."``.

    Raises:
        OSError: if they cannot be written.
    """
    weights = {
        prefix + key: value.detach().cpu().contiguous()
        for prefix, model in models.items()
        for key, value in model.state_dict().items()
    }
    directory.write_bytes(WEIGHTS, save(weights))


def read_weights(directory: RunDirectory, models: Mapping[str, nn.Module]) -> None:
    """Give models the weights in a run's directory, and their precision.

    Args:
        directory: the run's.
        models: as they were written.

    Raises:
        RunDirectoryError: if the weights are missing or damaged, or not of such models.
    """
    weights = _read(directory)
    for prefix, model in models.items():
        own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        if not model.state_dict():  # a learner without weights
            continue
        if not own:
            raise RunDirectoryError(f"{directory.path / WEIGHTS}: has no weights of {prefix.rstrip('.')}")
        try:
            # Copied into the tensors that are there: how weights lie in memory has a say in the last bit of their
            # products.
            model.to(next(iter(own.values())).dtype).load_state_dict(own)
        except RuntimeError:
            raise RunDirectoryError(
                f"{directory.path / WEIGHTS}: {prefix.rstrip('.')} is not what {directory.config_path.name} describes"
            ) from None


def _read(directory: RunDirectory) -> dict[str, Tensor]:
    path = directory.path / WEIGHTS
    wrong = directory.problem_with(WEIGHTS) if path.exists() else "missing"
    try:
        weights = load_file(path) if wrong is None else {}
    except (OSError, SafetensorError) as error:
        wrong = f"cannot be read ({error})"
    if wrong is not None:
        raise RunDirectoryError(f"{path}: {wrong}; try: iclgd resume {directory.path}")
    return weights

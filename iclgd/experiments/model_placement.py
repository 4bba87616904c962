"""Which of a model's ways to be in memory go with which of the trainer's."""

from iclgd.models.loading import LanguageModelConfig
from iclgd.runtime.trainer import DeviceConfig


def check_placement(model: LanguageModelConfig, trainer: DeviceConfig) -> None:
    """Refuse what contradicts.

    Args:
        model: the ``model`` part of the config.
        trainer: the ``trainer`` part of the config.

    Raises:
        ValueError: for the first contradiction.

    Example:
        >>> check_placement(LanguageModelConfig(dtype="bfloat16"), DeviceConfig(precision="64-true"))
        Traceback (most recent call last):
        ValueError: model.dtype=bfloat16 is the precision of the model: it needs trainer.precision=32-true, got 64-true
    """
    if model.dtype != LanguageModelConfig.dtype and trainer.precision != DeviceConfig.precision:
        raise ValueError(
            f"model.dtype={model.dtype} is the precision of the model: it needs "
            f"trainer.precision={DeviceConfig.precision}, got {trainer.precision}"
        )

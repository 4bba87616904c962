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
        ValueError: model.dtype=bfloat16 needs trainer.precision=32-true, which leaves the model as it is; got 64-true
    """
    for key in ("dtype", "quantization", "device_map"):
        value = getattr(model, key)
        if value != getattr(LanguageModelConfig, key) and trainer.precision != DeviceConfig.precision:
            raise ValueError(
                f"model.{key}={value} needs trainer.precision={DeviceConfig.precision}, which leaves the model as it "
                f"is; got {trainer.precision}"
            )
    if model.placement is None:
        return
    key = "device_map" if model.quantization is None else "quantization"
    what = f"model.{key}={getattr(model, key)}"
    if model.placement == "auto" and trainer.devices > 1:
        raise ValueError(
            f"{what} takes all GPUs of a node for one process: trainer.devices must be 1, got {trainer.devices}; "
            "queries are shared among nodes, trainer.num_nodes"
        )
    contradicting = {"auto": "cpu", "cpu": "gpu"}
    if trainer.accelerator == contradicting[model.placement]:
        raise ValueError(f"{what} contradicts trainer.accelerator={trainer.accelerator}")

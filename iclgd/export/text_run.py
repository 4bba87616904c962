"""Recompute what a finished text run looked at, and write it as the published analysis scripts read it."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from iclgd.analysis.observe import Observation
from iclgd.analysis.precision import at_least_single
from iclgd.checks import InputError
from iclgd.data.text_datamodule import QueryBatch
from iclgd.experiments import text
from iclgd.export.lmops import RecordFiles, arrange_context, context_columns, write_records
from iclgd.modules.draws import of_draw
from iclgd.modules.dual_form import DualFormModule
from iclgd.modules.rate_search import FOUND
from iclgd.runtime.stopping import interruptible
from iclgd.runtime.trainer import make_trainer
from iclgd.terminal import say
from iclgd.tracking.run_directory import RunDirectory

TOLERANCE = 1e-3  # of what a run on another machine gives


class ExportError(InputError):
    """A run that cannot be exported."""


def export(directory: RunDirectory, config: Any, folder: Path) -> None:
    """Finetune and see all queries once more, and write the records, without controls; a run stores no tensors.

    Of several draws of demonstrations it is the first.

    The layout is described in :mod:`iclgd.export.lmops`. If the results are not those of the run's summary (data or
    model changed since), a warning says so.

    Args:
        directory: of the run.
        config: the run's, for one process.
        folder: to be made.

    Raises:
        ExportError: if it is no text run, if it is not complete, or if the folder exists; nothing is written then.
        InputError: if the run's data or model cannot be used any more; nor then.
        OSError: if the records cannot be written; nothing is left behind then.
    """
    if not isinstance(config, text.Config):
        raise ExportError(f"{directory.path}: not a text run, but experiment: {config.experiment}")
    summary = directory.read_summary()
    if summary is None:
        raise ExportError(f"{directory.path}: the run is not complete; continue it with: iclgd resume {directory.path}")
    if folder.exists() or folder.is_symlink():
        raise ExportError(f"{folder}: exists already; give another one with --output")
    evaluation = dataclasses.replace(config.evaluation, controls=[], other_task=None, num_replicates=0)
    first_draw = dataclasses.replace(config.demonstrations, num_draws=1)
    changed = dataclasses.replace(config, demonstrations=first_draw, evaluation=evaluation)
    if (found := summary.get(FOUND)) is not None:  # it need not be searched for again
        changed = dataclasses.replace(changed, finetune=dataclasses.replace(config.finetune, learning_rate=found))
    prepared = text.prepare(changed)
    data, module = prepared.data, prepared.module
    with write_records(folder) as files:
        callbacks: list[Callback] = [_Recorder(files)]
        trainer = make_trainer(config.trainer, checkpoints=None, loggers=[], callbacks=callbacks)
        with interruptible(trainer):
            trainer.fit(module, data)
            trainer.test(module, data, verbose=False)
    own = {name.removeprefix(of_draw(0)): value for name, value in summary.items() if name.startswith(of_draw(0))}
    if (line := _difference(module.results, own or summary)) is not None:
        say(f"warning: {line}")


class _Recorder(Callback):
    """Writes what the comparison itself, the first one, sees."""

    def __init__(self, files: RecordFiles) -> None:
        self.files = files
        self.columns: list[int] = []

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the attention queries of the demonstrations, each before its own step."""
        assert isinstance(pl_module, DualFormModule)
        for index, layers in enumerate(pl_module.comparisons[0].training_queries):
            queries = _numpy(torch.stack(layers))  # (L, T, H * E)
            start = pl_module.comparisons[0].prompts.start
            queries = queries[:, max(0, len(start) - 1) :]  # of several tokens the last
            if not start:
                queries = np.concatenate([np.zeros_like(queries[:, :1]), queries], axis=1)
            self.files.write("ft", index, {"attn_q": queries})

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find out which of the context's tokens stands where in the published layout."""
        assert isinstance(pl_module, DualFormModule)
        prompts = pl_module.comparisons[0].prompts
        lengths = [len(demonstration) for demonstration in prompts.demonstrations]
        self.columns = context_columns(lengths, len(prompts.start), len(prompts.separator))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: QueryBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write a batch of queries in the three settings."""
        assert isinstance(outputs, Mapping)
        names = {"zs": "zero_shot", "icl": "in_context", "ftzs": "finetuned"}
        observations: dict[str, Observation] = {setting: outputs[name] for setting, name in names.items()}
        visible = torch.stack([seen.visible for seen in observations.values()]).all(0)[:, :, None]
        for setting, seen in observations.items():
            hiddens, queries = _numpy(seen.outputs), _numpy(seen.queries)
            maps = _numpy(seen.scores.masked_fill(~visible, 0.0))  # zero in all settings is not in the scripts' cosines
            context = self._context_scores(seen)
            numbers = (batch.indices, batch.lengths, batch.labels, seen.predictions)
            for row, (index, length, gold, predicted) in enumerate(zip(*(n.tolist() for n in numbers), strict=True)):
                record: dict[str, NDArray[Any] | int] = {
                    "self_attn_out_hiddens": hiddens[row],
                    "attn_map": maps[row, ..., :length],  # the rest is padding
                    "attn_map_ctx": context[row],
                    "gold_label": gold,
                    "pred_label": predicted,
                }
                if setting == "ftzs":
                    record["attn_q"] = queries[row]
                self.files.write(setting, index, record)

    def _context_scores(self, seen: Observation) -> NDArray[Any]:
        """Return scores with the context's tokens in the published layout, summed over heads, shape ``(B, L, P)``.

        In double precision, as where the run compares them. Without demonstrations the start token is all there is,
        of several the last.
        """
        if seen.context_scores is not None:
            return arrange_context(_numpy(seen.context_scores.double().sum(2)), self.columns)
        start = _numpy(seen.start_scores.double().sum(2))
        return start[..., -1:] if start.shape[-1] else np.zeros((*start.shape[:2], 1))


def _numpy(tensor: Tensor) -> NDArray[Any]:
    return at_least_single(tensor).cpu().numpy()


def _difference(results: dict[str, float], summary: dict[str, float]) -> str | None:
    """Return a line on how the recomputed results differ from the run's, ``None`` if they agree."""
    shared = {name: (value, summary[name]) for name, value in results.items() if name in summary}
    different = {
        name: (now, then)
        for name, (now, then) in shared.items()
        if not (math.isclose(now, then, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or (math.isnan(now) and math.isnan(then)))
    }
    if not different:
        return None
    name, (now, then) = next(iter(different.items()))
    return (
        f"{len(different)} of {len(shared)} recomputed results differ from summary.json, such as {name}: {now:g}, was "
        f"{then:g}; has the model, the data or the machine changed since?"
    )

"""The text experiment on a GPU gives the CPU's numbers: capture, contexts, finetuning, settings, metrics, controls."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torchmetrics import Metric
from transformers import PreTrainedModel, XGLMConfig

import iclgd
from benchmarks import text as benchmark
from iclgd import config as configs
from iclgd.analysis.finetune import FinetuneConfig
from iclgd.data.prompts import Prompts
from iclgd.data.text_datamodule import TextDataModule
from iclgd.experiments import RunContext, asking, text
from iclgd.models.language import LanguageModel, untrained_twin, wrap
from iclgd.modules.dual_form import Comparison
from iclgd.modules.similarities import EvaluationConfig
from iclgd.runtime.process import prepare_process
from iclgd.runtime.trainer import DeviceConfig
from tests.conftest import ROOT
from tests.devices.conftest import Gpu
from tests.language_models import ANSWERS, LAYERS, TEMPLATE, random_tokens, task_rows, tiny, tiny_model, tiny_tokenizer
from tests.second_device import second_device

There = Callable[[], AbstractContextManager[Any]]
NAMES = ["gpt2", "mistral", "gpt_neo", "xglm"]  # fused projections; a window; two outside transformers' registry
TOLERANCES = {"64-true": 1e-6, "32-true": 1e-3, "bf16-mixed": 0.1, "bf16-true": 0.1}  # of kernels that differ
STEADY = ("sim_aou", "sim_am", "update_similarity")  # means that rounding moves little
EMBEDDED = ROOT / "configs" / "text" / "embedded.yaml"
FEW = ["task.num_queries=8", "demonstrations.num=4", "evaluation.num_replicates=20", "tracking.mode=disabled"]


def tokens(length: int, seed: int) -> tuple[int, ...]:
    return tuple(random_tokens(length, seed=seed).tolist())


def prompts(seed: int = 0) -> Prompts:
    return Prompts(
        start=(0,),
        answers=((11,), (12, 13), (200,)),
        demonstrations=tuple(tokens(6 + k, seed + k) for k in range(3)),
        demonstration_labels=(0, 1, 2),
        separator=(5,),
        queries=tuple(tokens(length, 10 + length) for length in (4, 7, 5)),
        labels=(0, 1, 2),
    )


class _WhereMetricsAre(Callback):
    """Looks at the states of all metrics before processes would add them up, which NCCL does only on a GPU."""

    def __init__(self) -> None:
        self.devices: set[str] = set()

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: object, **kwargs: object) -> None:
        for metric in (module for module in pl_module.modules() if isinstance(module, Metric)):
            self.devices |= {state.device.type for state in metric.metric_state.values()}


def compare(
    name: str, method: str, precision: str, there: There | None = None, model: LanguageModel | None = None
) -> dict[str, float]:
    """Run a comparison and, of GPT-2, a control that shares its model; return the summary."""
    prepare_process(num_threads=1)
    model = model or tiny(name)
    comparisons = [Comparison("", model, prompts())]
    if name == "gpt2":
        comparisons.append(Comparison("shuffled_labels", model, prompts(seed=5)))
    evaluation, finetune = EvaluationConfig(batch_size=2, num_replicates=4), FinetuneConfig(0.1, method)
    data = TextDataModule([item.prompts for item in comparisons], evaluation.batch_size)
    module = text.DualFormModule(comparisons, finetune, evaluation, seed=0)
    places = _WhereMetricsAre()
    with there() if there else contextlib.nullcontext(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "TextProgress", lambda: places)
        device = DeviceConfig(accelerator="gpu" if there else "cpu", precision=precision)
        summary = text.execute(
            RunContext.alone(text.Config(finetune=finetune, trainer=device)), text.Prepared(data, module, [])
        )
    assert places.devices == {"cuda" if there else "cpu"}
    return summary


def assert_close(found: dict[str, float], expected: dict[str, float], precision: str, gpu: Gpu) -> None:
    """Compare two summaries: all numbers where the kernels are the same, else those that rounding does not decide.

    Ranks turn with the last bits where scores are close, answers in bfloat16 too; and rotary positions leave the first
    layer's scores as they were, so that ``sim_am_delta`` there compares two roundings.
    """
    assert found.keys() == expected.keys()
    names = found.keys() - {"queries_per_second", "peak_memory_bytes"}
    if gpu.is_real:
        names = {name for name in names if name.partition("/")[0] in STEADY}
        names = names & set(STEADY) if precision.startswith("bf16") else names
    tolerance = TOLERANCES[precision] if gpu.is_real else 1e-6
    measured, known = ({name: summary[name] for name in names} for summary in (found, expected))
    assert measured == pytest.approx(known, rel=tolerance, abs=tolerance, nan_ok=True)


@pytest.mark.parametrize(
    ("name", "method", "precision"),
    [
        ("gpt2", "layer_causal", "64-true"),
        ("mistral", "gradient_descent", "bf16-mixed"),
        ("xglm", "gradient_descent", "32-true"),
        *(
            pytest.param(name, method, precision, marks=pytest.mark.slow)
            for name in NAMES
            for method, precision in (("gradient_descent", "bf16-true"), ("layer_causal", "32-true"))
        ),
    ],
)
def test_the_gpu_measures_as_the_cpu(name: str, method: str, precision: str, gpu: Gpu) -> None:
    expected = compare(name, method, precision)
    if gpu.is_real:
        torch.cuda.reset_peak_memory_stats()
    found = compare(name, method, precision, gpu.there)
    assert_close(found, expected, precision, gpu)
    assert found["peak_memory_bytes"] < 2**27  # of the GPU: a process that has imported PyTorch takes more
    assert expected["peak_memory_bytes"] > 2**27


def embedded(accelerator: str, *overrides: str) -> dict[str, float]:
    prepare_process(num_threads=1)
    config = configs.load(EMBEDDED, [*FEW, *overrides, f"trainer.accelerator={accelerator}"])
    assert isinstance(config, text.Config)
    return text.execute(RunContext.alone(config), text.prepare(config))


def over_two_gpus(name: str) -> PreTrainedModel:
    """Return a model whose layers, embeddings and head are on two GPUs, by turns."""
    model = tiny_model(name)
    parts = {"model.embed_tokens": 1, "model.rotary_emb": 0, "model.norm": 0, "lm_head": 1}
    parts |= {f"model.layers.{index}": index % 2 for index in range(LAYERS)}
    device_map = {part: f"cuda:{index}" for part, index in parts.items()}
    dispatch_model(model, device_map=device_map, skip_keys=model._skip_keys_device_placement)
    return model


@pytest.mark.parametrize(("name", "method"), [("llama", "gradient_descent"), ("mistral", "layer_causal")])
def test_a_model_over_two_gpus_measures_as_on_one(name: str, method: str) -> None:
    expected = compare(name, method, "32-true")
    with second_device(num_gpus=2):
        dispatched = over_two_gpus(name)
        model = wrap(name, dispatched)
        before = tensors(dispatched)
        assert {str(place) for _, place, *_ in before} == {"cuda:0", "cuda:1"}
        found = compare(name, method, "32-true", contextlib.nullcontext, model)
        assert tensors(dispatched) == before
        twin = untrained_twin(model, 0).model
        assert [each.device for each in twin.parameters()] == [each.device for each in dispatched.parameters()]
    assert_close(found, expected, "32-true", Gpu(contextlib.nullcontext, is_real=False))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradient_descent", "layer_causal"])
@pytest.mark.parametrize("precision", TOLERANCES)
def test_the_embedded_model_with_all_controls(precision: str, method: str, gpu: Gpu) -> None:
    overrides = (f"trainer.precision={precision}", f"finetune.method={method}")
    expected = embedded("cpu", *overrides)
    with gpu.there():
        found = embedded("gpu", *overrides)
    assert_close(found, expected, precision, gpu)


def test_the_benchmark_of_a_gpu(gpu: Gpu) -> None:
    prepare_process(num_threads=1)
    shape = XGLMConfig(vocab_size=500, d_model=32, ffn_dim=64, num_layers=1, attention_heads=4)
    with gpu.there(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "matmul_peak", lambda device, size: {"cuda": 1e9}[device])  # the CPU's takes long
        record = benchmark.measure_gpu(shape, num_queries=3, num_demonstrations=2, accelerator="gpu")
    assert record["benchmark"] == "text/gpu/xglm"
    assert record["fraction_of_floor"] > 0
    assert record["queries_per_second"] > 0


def tensors(model: nn.Module) -> list[tuple[Any, ...]]:
    return [(id(each), each.device, each.data_ptr(), each._version) for each in (*model.parameters(), *model.buffers())]


@pytest.mark.parametrize(("home", "accelerator"), [("cuda", "gpu"), ("cuda", "cpu"), ("cpu", "gpu")])
def test_a_users_model_stays_where_it_is(home: str, accelerator: str, gpu: Gpu) -> None:
    task = iclgd.data.task_from_rows(task_rows(5), task_rows(3), template=TEMPLATE, answers=ANSWERS)
    with gpu.there():
        model = tiny_model("llama").to(home)
        before = tensors(model)
        result = iclgd.compare(
            (model, tiny_tokenizer()),
            task,
            learning_rate=0.1,
            num_demonstrations=2,
            overrides=["evaluation.num_replicates=0", f"trainer.accelerator={accelerator}"],
        )
        assert tensors(model) == before
    assert -1 <= result.summary["sim_am"] <= 1


@pytest.mark.slow
def test_a_run_on_a_gpu_can_be_exported(gpu: Gpu, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    alone = ["evaluation.controls=[]", "evaluation.other_task=null", "trainer.accelerator=gpu"]
    with gpu.there():
        code, _, _ = cli("run", EMBEDDED, *FEW, *alone)
        assert code == 0
        (run,) = (tmp_path / "runs").glob("*/*/summary.json")
        code, _, errors = cli("export", run.parent, "--format", "lmops", "--output", tmp_path / "records")
    assert (code, errors) == (0, "")
    assert (tmp_path / "records").is_dir()

"""What is looked at: captured attention, the demonstrations' context, finetuning, sensitivities, the dual form."""

from typing import TYPE_CHECKING

from iclgd.lazy import lazy_names

if TYPE_CHECKING:
    from iclgd.analysis.attention_capture import Captured, capture, capture_queries
    from iclgd.analysis.copying import first_layer_gradients
    from iclgd.analysis.finetune import Finetuned, make_loss
    from iclgd.analysis.functions import transformer_kernel
    from iclgd.analysis.kv_context import Context, run_context
    from iclgd.analysis.sensitivity import predict_with_sensitivity
    from iclgd.analysis.two_forms import attention_form, dual_form

__all__ = [
    "Captured",
    "Context",
    "Finetuned",
    "attention_form",
    "capture",
    "capture_queries",
    "dual_form",
    "first_layer_gradients",
    "make_loss",
    "predict_with_sensitivity",
    "run_context",
    "transformer_kernel",
]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Captured": "iclgd.analysis.attention_capture",
        "Context": "iclgd.analysis.kv_context",
        "Finetuned": "iclgd.analysis.finetune",
        "attention_form": "iclgd.analysis.two_forms",
        "capture": "iclgd.analysis.attention_capture",
        "capture_queries": "iclgd.analysis.attention_capture",
        "dual_form": "iclgd.analysis.two_forms",
        "first_layer_gradients": "iclgd.analysis.copying",
        "make_loss": "iclgd.analysis.finetune",
        "predict_with_sensitivity": "iclgd.analysis.sensitivity",
        "run_context": "iclgd.analysis.kv_context",
        "transformer_kernel": "iclgd.analysis.functions",
    },
)

"""What the model sees: regression problems, and text classification tasks as prompts."""

from typing import TYPE_CHECKING

from iclgd.data.regression import LinearRegressionTask, RegressionBatch, RegressionTask
from iclgd.data.seeding import named_generator
from iclgd.data.sine import SineTask
from iclgd.lazy import lazy_names

if TYPE_CHECKING:
    from iclgd.data.text import TextExample, TextTask, load_examples, load_task, task_from_rows, text_task_names

REGRESSION_TASKS: dict[str, type[RegressionTask]] = {"linear": LinearRegressionTask, "sine": SineTask}

__all__ = [
    "LinearRegressionTask",
    "RegressionBatch",
    "RegressionTask",
    "SineTask",
    "TextExample",
    "TextTask",
    "load_examples",
    "load_task",
    "named_generator",
    "task_from_rows",
    "text_task_names",
]
OF_TEXT = ("TextExample", "TextTask", "load_examples", "load_task", "task_from_rows", "text_task_names")
__getattr__, __dir__ = lazy_names(__name__, dict.fromkeys(OF_TEXT, "iclgd.data.text"))

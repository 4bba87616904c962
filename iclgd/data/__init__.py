"""What the model sees."""

from iclgd.data.regression import LinearRegressionTask as LinearRegressionTask
from iclgd.data.regression import RegressionBatch as RegressionBatch

REGRESSION_TASKS = {"linear": LinearRegressionTask}

"""Tasks: rows of data and a protocol; ``evaluate(embedder)`` gives a `TaskResult`."""

from evaluation.tasks.retrieval import RetrievalTask
from evaluation.tasks.task import Task
from evaluation.tasks.zeroshot_classification import ZeroShotClassificationTask

__all__ = ["RetrievalTask", "Task", "ZeroShotClassificationTask"]

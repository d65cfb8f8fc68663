"""Tasks: rows of data and a protocol; ``evaluate(embedder)`` gives a `TaskResult`."""

from evaluation.tasks.few_label import FewLabelTask
from evaluation.tasks.knn import KNNTask
from evaluation.tasks.linear_probe import LinearProbeTask
from evaluation.tasks.retrieval import RetrievalTask
from evaluation.tasks.task import Task
from evaluation.tasks.zeroshot_classification import ZeroShotClassificationTask

__all__ = ["FewLabelTask", "KNNTask", "LinearProbeTask", "RetrievalTask", "Task", "ZeroShotClassificationTask"]

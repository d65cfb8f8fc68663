"""Tasks: rows of data and a protocol; ``evaluate(embedder)`` gives a `TaskResult`."""

from evaluation.tasks.bitext_mining import BitextMiningTask
from evaluation.tasks.clustering import ClusteringTask
from evaluation.tasks.few_label import FewLabelTask
from evaluation.tasks.image_caption_selection import ImageCaptionSelectionTask, WinogroundTask
from evaluation.tasks.image_retrieval import ImageRetrievalTask
from evaluation.tasks.knn import KNNTask
from evaluation.tasks.linear_probe import LinearProbeTask
from evaluation.tasks.multilabel_zeroshot_classification import MultiLabelZeroShotTask
from evaluation.tasks.pair_classification import PairClassificationTask
from evaluation.tasks.representation_health import RepresentationHealthTask
from evaluation.tasks.retrieval import RetrievalTask
from evaluation.tasks.robustness import RobustnessTask
from evaluation.tasks.sts import STSTask
from evaluation.tasks.task import Task
from evaluation.tasks.text_retrieval import TextRetrievalTask
from evaluation.tasks.triplet_accuracy import TripletAccuracyTask
from evaluation.tasks.zeroshot_classification import ZeroShotClassificationTask

__all__ = [
    "BitextMiningTask",
    "ClusteringTask",
    "FewLabelTask",
    "ImageCaptionSelectionTask",
    "ImageRetrievalTask",
    "KNNTask",
    "LinearProbeTask",
    "MultiLabelZeroShotTask",
    "PairClassificationTask",
    "RepresentationHealthTask",
    "RetrievalTask",
    "RobustnessTask",
    "STSTask",
    "Task",
    "TextRetrievalTask",
    "TripletAccuracyTask",
    "WinogroundTask",
    "ZeroShotClassificationTask",
]

"""Whatever can be judged, by its name: a model of any library, one without its training, embeddings in a file."""

from __future__ import annotations

import logging
import os

import torch

from evaluation.embedder import Embedder
from mmcl.embedder import Precision, load
from mmcl.file_embedder import FileEmbedder, is_embeddings_file
from mmcl.model_facts import UNTRAINED
from mmcl.sentence_embedder import SentenceEmbedder
from mmcl.towers.sentence_model import UnknownModulesError

_log = logging.getLogger(__name__)


def open_model(
    name: str | os.PathLike[str],
    device: str | torch.device | None = None,
    batch_size: int = 64,
    precision: Precision = "fp32",
) -> Embedder:
    """Return what encodes pictures and texts under a name.

    Args:
        name: what `mmcl.load` takes; a folder of sentence-transformers whatever its modules; ``untrained:`` and a name
            for the same architecture with fresh weights; a .npy, .npz or .parquet file of embeddings.
        device: where to run; by default a GPU when there is one.
        batch_size: pictures or texts encoded at a time.
        precision: of the towers.

    Raises:
        mmcl.errors.UserError: there is no such model, or it cannot be opened.
    """
    name = os.fspath(name)
    if name.startswith(UNTRAINED):
        untrained = load(name.removeprefix(UNTRAINED), device, batch_size, precision).untrained()
        untrained.name = untrained.pretrained = name
        return untrained
    if is_embeddings_file(name):
        return FileEmbedder(name)
    try:
        return load(name, device, batch_size, precision)
    except UnknownModulesError as found:
        _log.warning("%s; it is run by sentence-transformers itself", found)
        return SentenceEmbedder(name, found.modalities, device, batch_size, precision)

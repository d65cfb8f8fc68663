"""An embedder as MTEB, and MIEB in it, asks a model for vectors. Importing it needs the extra ``mteb``."""

from __future__ import annotations

from typing import Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction

from evaluation.embedder import Embedder, Embeddings, prompts_of
from evaluation.tasks.task import embed_images, embed_texts
from evaluation.tasks.text_retrieval import DOCUMENT_PROMPTS


class MTEBEncoder(AbsEncoder):  # type: ignore[misc]  # mteb need not be there for the type checker
    """Gives MTEB the embeddings of an `Embedder`; ``mteb.evaluate`` takes it for a model.

    Vectors are compared by their cosine. An example of a picture and a text is embedded as the sum of their vectors, as
    MTEB does with CLIP. Where the embedder has prompts, MTEB chooses among their names: that of the task, of its type,
    ``query`` or ``document``.

    Args:
        embedder: does the work. It may say by ``modalities`` which of ``image`` and ``text`` it embeds, by default
            both, and by ``embedding_dim`` and ``max_tokens`` what MTEB is to note of it.
        name: OWNER/NAME by which MTEB files the results; their revision is the embedder's fingerprint.
    """

    def __init__(self, embedder: Embedder, name: str) -> None:
        self.embedder = embedder
        self.model_prompts = dict(prompts_of(embedder))
        # By hand: MTEB would look a name up on the hub.
        self.mteb_model_meta = ModelMeta(
            loader=None,
            name=name,
            revision=embedder.fingerprint,
            release_date=None,
            languages=None,
            n_parameters=None,
            memory_usage_mb=None,
            max_tokens=getattr(embedder, "max_tokens", None),
            embed_dim=getattr(embedder, "embedding_dim", None),
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=[],
            similarity_fn_name=ScoringFunction.COSINE,
            use_instructions=bool(self.model_prompts),
            training_datasets=None,
            modalities=list(getattr(embedder, "modalities", ("image", "text"))),
        )

    def encode(self, inputs: Any, *, task_metadata: Any, prompt_type: Any = None, **_: Any) -> Embeddings:
        """Return ``(N, D)`` float32 rows, one per example, in order.

        Args:
            inputs: MTEB's loader: batches of lists, under ``text``, ``image`` or both.
            task_metadata: of the task, for the prompt.
            prompt_type: ``query`` or ``document``, where the task tells them apart.

        Raises:
            EvaluationError: the embedder gives something else than one row of unit norm for each.
        """
        texts: list[str] = []
        images: list[Embeddings] = []
        for batch in inputs:
            texts += batch.get("text", [])
            # Pictures batch by batch: all of them, decoded, need not fit into memory.
            if "image" in batch:
                images.append(embed_images(self.embedder, batch["image"]))
        chosen = self.get_prompt_name(task_metadata, prompt_type)
        # MTEB knows but one name for the prompt of documents.
        names = (chosen,) if chosen else DOCUMENT_PROMPTS if prompt_type == "document" else ()
        parts = [embed_texts(self.embedder, texts, *names)] if texts else []
        if images:
            parts.append(np.concatenate(images))
        return parts[0] if len(parts) == 1 else np.sum(parts, axis=0)

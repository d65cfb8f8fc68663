"""The one kind of error a user of this package can cause."""

from __future__ import annotations


class EvaluationError(ValueError):
    """Data, embeddings or result files that cannot be judged; the message says what, got and allowed."""

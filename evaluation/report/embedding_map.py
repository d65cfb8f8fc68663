"""A map of the shared space in two dimensions, as coordinates for an inline SVG."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.exhibits import EmbeddingSample

WIDTH, HEIGHT = 640, 460
_MARGIN = 16
_NUM_COLOURS = 10
_MIN_POINTS_FOR_TSNE = 12
_TSNE_STEPS = 500  # half of scikit-learn's default, which takes twice as long for the same picture
_OTHER = "other"


@dataclass(frozen=True)
class MapPoint:
    """A picture or text on the map: its place, its colour's number (0 is neutral), and what it says."""

    x: float
    y: float
    colour: int
    label: str


@dataclass(frozen=True)
class EmbeddingMap:
    """A map ready for the template.

    Attributes:
        images: drawn as dots.
        texts: drawn as diamonds; none in a space of pictures alone.
        links: ``(x1, y1, x2, y2)`` from each picture to its text, or empty where there would be too many.
        legend: colour numbers and what they stand for.
        method: one sentence on how the map was made.
        modality_gap: distance between the mean picture and the mean text embedding, None without texts.
    """

    images: tuple[MapPoint, ...]
    texts: tuple[MapPoint, ...]
    links: tuple[tuple[float, float, float, float], ...]
    legend: tuple[tuple[int, str], ...]
    method: str
    modality_gap: float | None
    width: int = WIDTH
    height: int = HEIGHT


def draw_map(sample: EmbeddingSample, *, is_quick: bool = False) -> EmbeddingMap:
    """Return the map of a sample; equal samples give equal maps.

    Args:
        sample: what to map.
        is_quick: by principal components alone, without the second or so that t-SNE takes.
    """
    has_texts = len(sample.texts) > 0
    image_mean = sample.images.mean(axis=0)
    text_mean = sample.texts.mean(axis=0) if has_texts else image_mean
    centred = np.concatenate([sample.images - image_mean, sample.texts - text_mean]).astype(np.float64)
    flat, method = _project(centred, is_quick)
    places = _fit(flat)
    colours = _colour_numbers(sample.image_kinds)
    num_images = len(sample.images)
    image_labels = [sample.text_labels[row] for row in sample.partners.tolist()] or list(sample.image_kinds)
    images = _points(places[:num_images], image_labels, sample.image_kinds, colours)
    texts = _points(places[num_images:], list(sample.text_labels), sample.text_kinds, colours)
    links = [(images[row], texts[partner]) for row, partner in enumerate(sample.partners.tolist())]
    is_one_to_one = len(set(sample.partners.tolist())) == num_images
    others = {0: _OTHER} if colours and set(sample.image_kinds) - set(colours) else {}
    return EmbeddingMap(
        images=images,
        texts=texts,
        links=tuple((a.x, a.y, b.x, b.y) for a, b in links) if is_one_to_one else (),
        legend=(*((number, kind) for kind, number in colours.items()), *others.items()),
        method=f"{method} of the embeddings{', the mean of each modality removed' if has_texts else ''}.",
        modality_gap=float(np.linalg.norm(image_mean - text_mean)) if has_texts else None,
    )


def _project(points: NDArray[np.float64], is_quick: bool) -> tuple[NDArray[np.float64], str]:
    """``(n, 2)`` places and how they were found: t-SNE from a PCA start, or PCA alone, as for few or equal points."""
    principal = _principal_components(points)
    spread = principal.std(axis=0)
    if is_quick or len(points) < _MIN_POINTS_FOR_TSNE or spread.min() < 1e-6:
        return principal, "First two principal components"
    from sklearn.manifold import TSNE  # slow to import, and only a report needs it

    perplexity = min(20.0, (len(points) - 1) / 4)
    start = principal / spread[0] * 1e-4  # the scale t-SNE starts from
    # The exact method: on so few points it is fast, and it does not depend on the number of threads.
    tsne = TSNE(
        perplexity=perplexity, init=start.astype(np.float32), random_state=0, method="exact", max_iter=_TSNE_STEPS
    )
    flat = tsne.fit_transform(points)
    return np.asarray(flat, dtype=np.float64), f"t-SNE (perplexity {perplexity:.0f})"


def _principal_components(points: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = points - points.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    components = np.zeros((len(points), 2))
    count = min(2, len(scale))
    components[:, :count] = left[:, :count] * scale[:count]
    # A singular vector's sign is arbitrary: let its largest entry be positive.
    largest = components[np.abs(components).argmax(axis=0), [0, 1]]
    return components * np.where(largest < 0, -1.0, 1.0)


def _fit(flat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale both axes alike into the drawing, centred."""
    low, high = flat.min(axis=0), flat.max(axis=0)
    room = np.array([WIDTH - 2 * _MARGIN, HEIGHT - 2 * _MARGIN])
    scale = float(np.min(room / np.maximum(high - low, 1e-12)))
    return np.asarray((flat - (low + high) / 2) * scale + np.array([WIDTH / 2, HEIGHT / 2]))


def _colour_numbers(kinds: tuple[str, ...]) -> dict[str, int]:
    """The commonest kinds and their colours, 1 and up; what is rarer is neutral."""
    ordered = sorted(Counter(kinds).items(), key=lambda item: (-item[1], item[0]))
    return {kind: number for number, (kind, _) in enumerate(ordered[:_NUM_COLOURS], start=1)}


def _points(
    places: NDArray[np.float64], labels: list[str], kinds: tuple[str, ...], colours: dict[str, int]
) -> tuple[MapPoint, ...]:
    numbers = [colours.get(kind, 0) for kind in kinds] if kinds else [1] * len(places)
    return tuple(
        MapPoint(round(float(x), 1), round(float(y), 1), number, label)
        for (x, y), number, label in zip(places, numbers, labels, strict=True)
    )

"""The map of embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.exhibits import EmbeddingSample
from evaluation.report.embedding_map import HEIGHT, WIDTH, draw_map


def sample_of(num_pairs: int, kinds: tuple[str, ...] = (), seed: int = 0) -> EmbeddingSample:
    """Pairs in two far clusters, pictures and texts a constant gap apart."""
    rng = np.random.default_rng(seed)
    centres = np.where(np.arange(num_pairs)[:, None] % 2 == 0, 4.0, -4.0) * np.ones((1, 8))
    images = (centres + rng.normal(size=(num_pairs, 8))).astype(np.float32)
    texts = images + np.float32(3.0) + 0.1 * rng.normal(size=(num_pairs, 8)).astype(np.float32)
    return EmbeddingSample(
        images, texts, np.arange(num_pairs), tuple(f"text {i}" for i in range(num_pairs)), kinds, kinds
    )


@pytest.mark.parametrize("num_pairs", [1, 2, 5, 40])
def test_every_point_is_inside_the_drawing(num_pairs: int) -> None:
    drawing = draw_map(sample_of(num_pairs))
    points = [*drawing.images, *drawing.texts]
    assert len(points) == 2 * num_pairs
    assert all(0 <= point.x <= WIDTH and 0 <= point.y <= HEIGHT for point in points)


def test_equal_samples_give_equal_maps() -> None:
    assert draw_map(sample_of(30)) == draw_map(sample_of(30))


def test_partners_lie_together_whatever_the_gap_between_modalities() -> None:
    drawing = draw_map(sample_of(40))
    assert drawing.method.startswith("t-SNE")
    assert drawing.modality_gap == pytest.approx(3.0 * np.sqrt(8), rel=0.02)
    places = np.array([[point.x, point.y] for point in drawing.images])
    partners = np.array([[point.x, point.y] for point in drawing.texts])
    to_partner = np.linalg.norm(places - partners, axis=1)
    to_all = np.linalg.norm(places[:, None] - partners[None], axis=2)
    assert np.median(to_partner) < 0.2 * np.median(to_all)
    assert len(drawing.links) == 40


@pytest.mark.parametrize("num_pairs", [3, 30])
def test_a_collapsed_model_is_one_spot_without_a_warning(num_pairs: int) -> None:
    same = np.ones((num_pairs, 4), np.float32)
    drawing = draw_map(EmbeddingSample(same, same, np.arange(num_pairs), ("x",) * num_pairs))
    assert {(point.x, point.y) for point in drawing.images} == {(WIDTH / 2, HEIGHT / 2)}


def test_common_kinds_have_colours_and_rare_ones_are_other() -> None:
    kinds = (*(f"kind {index % 12:02}" for index in range(36)), "kind 08", "kind 08")
    drawing = draw_map(sample_of(38, kinds))
    assert drawing.legend[0] == (1, "kind 08")
    assert drawing.legend[-1] == (0, "other")
    assert len(drawing.legend) == 11
    assert {point.colour for point in drawing.images} == set(range(11))
    assert draw_map(sample_of(5)).legend == ()


def test_no_links_where_many_pictures_share_a_text() -> None:
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=(2, 4)).astype(np.float32)
    drawing = draw_map(EmbeddingSample(images, texts, np.array([0, 1, 0, 1, 0, 1]), ("a", "b")))
    assert drawing.links == ()
    assert [point.label for point in drawing.images] == ["a", "b", "a", "b", "a", "b"]


def test_pictures_alone_are_labelled_by_their_kind_and_have_no_gap() -> None:
    both = sample_of(20, tuple(f"kind {index % 2}" for index in range(20)))
    drawing = draw_map(EmbeddingSample(both.images, both.texts[:0], np.arange(0), (), both.image_kinds))
    assert (drawing.texts, drawing.links, drawing.modality_gap) == ((), (), None)
    assert [point.label for point in drawing.images] == list(both.image_kinds)
    assert len({point.x for point in drawing.images}) == 20


def test_a_quick_map_is_of_principal_components() -> None:
    assert draw_map(sample_of(40), is_quick=True).method.startswith("First two principal components")

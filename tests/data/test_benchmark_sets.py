from __future__ import annotations

import pytest

from mmcl.data.benchmark_sets import CLASSIFICATION, RETRIEVAL, known_names, repository_of, set_name

COLLECTIONS = ("vtab", "vtab+", "retrieval", "imagenet_robustness")


def test_every_set_of_clip_benchmarks_collections_is_known() -> None:
    collections = pytest.importorskip("clip_benchmark.datasets.builder").dataset_collection
    names = {name for collection in COLLECTIONS for name in collections[collection]}
    assert names <= set(known_names())
    assert set(collections["retrieval"]) == set(RETRIEVAL)
    assert set(collections["imagenet_robustness"]) <= set(CLASSIFICATION)


def test_no_name_is_there_twice() -> None:
    assert len(set(known_names())) == len(known_names())


def test_a_name_of_the_same_rows_stands_for_them() -> None:
    assert set_name("cifar100") == set_name("wds/vtab/cifar100") == "vtab/cifar100"
    assert set_name("someone/else") is None
    assert repository_of("vtab/cifar100") == "clip-benchmark/wds_vtab-cifar100"

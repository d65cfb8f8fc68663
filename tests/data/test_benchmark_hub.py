from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import RepositoryNotFoundError

from mmcl.data.benchmark_hub import HubFolder, find_hub_folder
from mmcl.data.sources import open_source
from mmcl.errors import UnreachableError, UserError
from mmcl.recipe_data import SourceConfig
from tests.data.builders import class_samples, write_benchmark

pytestmark = pytest.mark.usefixtures("empty_cache")

CIFAR = HubFolder("clip-benchmark/wds_vtab-cifar10", "vtab/cifar10")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("wds/vtab/cifar10", CIFAR),
        ("vtab/cifar10", CIFAR),
        ("cifar10", CIFAR),
        ("wds/mscoco_captions", HubFolder("clip-benchmark/wds_mscoco_captions", "mscoco_captions")),
        ("someone/wds_mine", HubFolder("someone/wds_mine", "wds_mine")),
        ("hf://datasets/a/b", HubFolder("a/b", "b")),
        ("hf://datasets/a/b@v1/", HubFolder("a/b", "b", "v1")),
        ("https://huggingface.co/datasets/a/b/tree/main", HubFolder("a/b", "b", "main")),
        ("someone/else", None),
        ("hf://datasets/a/b/test/0.tar", None),
        ("products.csv", None),
    ],
)
def test_names_ids_and_addresses_of_repositories(path: str, found: HubFolder | None) -> None:
    assert find_hub_folder(path, "k") == found


def test_any_repository_may_be_said_to_be_in_the_layout() -> None:
    assert find_hub_folder("someone/else", "k", "clip_benchmark") == HubFolder("someone/else", "else")


def test_an_unknown_name_is_an_error_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r'k.path: .* no data set "wds/vtab/cifra10".*Did you mean "wds/vtab/cifar10"'):
        find_hub_folder("wds/vtab/cifra10", "k")


def test_the_text_files_and_one_split_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    folder = write_benchmark(tmp_path / "snapshot", [class_samples(1, 0)])
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *given, **named: asked.append((given, named)) or str(folder)
    )
    source = open_source(SourceConfig(path="wds/vtab/cifar10", revision="v1"), "evaluate.0.data")
    assert (source.name, source.split, source.dataset["label"][:]) == ("vtab/cifar10", "test", [1, 0])
    patterns = ["*.txt", "test/*"]
    named = {"repo_type": "dataset", "revision": "v1", "allow_patterns": patterns}
    assert asked == [(("clip-benchmark/wds_vtab-cifar10",), named)]


def test_a_folder_of_that_name_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_benchmark(tmp_path / "wds/mnist", [class_samples(1)])
    monkeypatch.chdir(tmp_path)
    assert open_source(SourceConfig(path="wds/mnist"), "evaluate.0.data").name == "mnist"


def test_what_is_not_in_the_cache_cannot_be_reached_without_a_network() -> None:
    with pytest.raises(UnreachableError, match=r"data.train.path: clip-benchmark/wds_mnist cannot be had from the Hub"):
        open_source(SourceConfig(path="wds/mnist"))


def test_a_repository_that_there_is_not_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        error: Any = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
        error.args = ("404 Not Found",)
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(UserError, match="cannot be had from the Hub") as caught:
        open_source(SourceConfig(path="someone/wds_mine"))
    assert not isinstance(caught.value, UnreachableError)

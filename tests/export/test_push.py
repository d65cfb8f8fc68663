from __future__ import annotations

import inspect
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi, RepoUrl
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

from mmcl.errors import UnreachableError, UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.export.push import push_model
from mmcl.model import build_model
from tests.tiny import save_tokenizer
from tests.towers.tiny_configs import joint


class Hub:
    """Stands in for `HfApi`: keeps what it is asked, and which files would be uploaded."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.error: Exception | None = None

    def __call__(self) -> Hub:
        return self

    def __getattr__(self, name: str) -> Any:
        def answer(*given: Any, **named: Any) -> Any:
            inspect.signature(getattr(HfApi, name)).bind(self, *given, **named)
            if self.error:
                raise self.error
            self.calls.append((name, given, named))
            return RepoUrl("https://hub.test/me/products", endpoint="https://hub.test")

        return answer


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("push")
    model = build_model(joint("clip", save_tokenizer(folder / "tokenizer")))
    export_model(model, folder / "run" / "model", ModelCardFacts("products"))
    (folder / "run" / "checkpoints").mkdir()
    return folder / "run"


@pytest.fixture
def run(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "run"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    monkeypatch.setattr("mmcl.export.push.HfApi", hub)
    return hub


def test_the_model_alone_is_uploaded_with_its_card(run: Path, hub: Hub) -> None:
    (run / "model" / "notes.csv").write_text("not for the world")
    assert push_model(str(run), "me/products") == "https://hub.test/me/products"
    (_, created, options), (name, _, upload) = hub.calls
    assert (created, options) == (("me/products",), {"private": None, "exist_ok": True})
    assert name == "upload_folder"
    assert upload["folder_path"] == run / "model"
    kept = {
        path.name
        for path in (run / "model").rglob("*")
        if path.is_file() and any(path.match(pattern) for pattern in upload["allow_patterns"])
    }
    assert kept == {path.name for path in (run / "model").rglob("*") if path.is_file()} - {"notes.csv"}
    assert {"README.md", "model.safetensors", "mmcl.json"} <= kept
    assert upload["revision"] is None


def test_a_branch_is_made_and_the_message_is_the_commits(run: Path, hub: Hub) -> None:
    url = push_model(str(run / "model"), "products", private=True, revision="lr", message="higher")
    assert url == "https://hub.test/me/products/tree/lr"
    assert [name for name, _, _ in hub.calls] == ["create_repo", "create_branch", "upload_folder"]
    assert hub.calls[0][2]["private"] is True
    assert hub.calls[1][1:] == (("me/products",), {"branch": "lr", "exist_ok": True})
    assert (hub.calls[2][2]["commit_message"], hub.calls[2][2]["revision"]) == ("higher", "lr")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda model: (model / "mmcl.json").unlink(), "neither a finished run nor a folder that mmcl exported"),
        (lambda model: (model / "README.md").unlink(), "has no model card, README.md"),
        (lambda model: (model / "README.md").write_text("---\na: [\n---\n"), "no metadata of a model card"),
        (lambda model: (model / "model.safetensors").write_bytes(b"torn"), "model"),
        (lambda model: shutil.rmtree(model), "neither a finished run"),
    ],
)
def test_what_is_not_whole_stays_here(run: Path, hub: Hub, damage: Any, message: str) -> None:
    damage(run / "model")
    with pytest.raises(UserError, match=message):
        push_model(str(run), "me/products")
    assert hub.calls == []


def refusal(status: int) -> HfHubHTTPError:
    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    return HfHubHTTPError(f"{status} from the hub", response=response)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LocalTokenNotFoundError("no"), "no token of the Hugging Face hub: log in with hf auth login, or set HF_TOKEN"),
        (refusal(401), r"refuses me/products \(401\): the token is missing or not accepted"),
        (refusal(403), r"refuses me/products \(403\): this token may not write there"),
        (refusal(500), r"refuses me/products \(500\): 500 from the hub"),
    ],
)
def test_what_the_hub_refuses_is_one_message(run: Path, hub: Hub, error: Exception, message: str) -> None:
    hub.error = error
    with pytest.raises(UserError, match=message):
        push_model(str(run), "me/products")


def test_without_a_network_nothing_is_uploaded(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.error = HfHubHTTPError.__bases__[0]("Name or service not known")
    with pytest.raises(UnreachableError, match="cannot reach the Hugging Face hub: Name or service not known"):
        push_model(str(run), "me/products")
    monkeypatch.undo()
    with pytest.raises(UnreachableError, match=r"cannot reach the Hugging Face hub: .*offline mode is enabled"):
        push_model(str(run), "me/products")


def test_an_id_of_the_wrong_form_is_refused_without_asking(run: Path) -> None:
    with pytest.raises(UserError, match=re.escape("my/own/products is no id of a repository, NAME or OWNER/NAME")):
        push_model(str(run), "my/own/products")

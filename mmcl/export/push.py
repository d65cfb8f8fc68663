"""Uploading an exported model to the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

from mmcl.embedder import load
from mmcl.errors import UnreachableError, UserError
from mmcl.towers.description import is_saved
from mmcl.towers.source import resolve_folder

UPLOADED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "README.md")
"""What an export consists of; whatever else may lie in its folder stays here."""

# The base of all that the hub's client raises on the way; the library that it is of has changed its name before.
_HTTPError: type[Exception] = HfHubHTTPError.__bases__[0]


def push_model(
    name: str, repo_id: str, *, private: bool = False, revision: str | None = None, message: str | None = None
) -> str:
    """Upload a model with its card, once it is seen to be whole; the repository is made where there is none.

    Args:
        name: a run, or a folder that a run, ``mmcl merge`` or ``mmcl export --to open_clip`` wrote.
        repo_id: ``NAME``, or ``OWNER/NAME``.
        private: make a new repository private; one that is there stays as it is.
        revision: the branch to upload to, made where there is none; by default the main one.
        message: of the commit.

    Returns:
        The address of what was uploaded.

    Raises:
        UserError: the folder is not whole, the id is none, or the hub does not let this user.
        UnreachableError: there is no way to the hub now.
    """
    folder = Path(resolve_folder(name))
    _check_is_whole(name, folder)
    with _hub_errors(repo_id):
        api = HfApi()
        repository = api.create_repo(repo_id, private=private or None, exist_ok=True)
        if revision is not None:
            api.create_branch(repository.repo_id, branch=revision, exist_ok=True)
        api.upload_folder(
            repo_id=repository.repo_id,
            folder_path=folder,
            commit_message=message or "Upload model",
            revision=revision,
            allow_patterns=list(UPLOADED),
        )
    return str(repository) if revision is None else f"{repository}/tree/{revision}"


def _check_is_whole(name: str, folder: Path) -> None:
    if not is_saved(str(folder)):
        raise UserError(f"{name} is neither a finished run nor a folder that mmcl exported: no mmcl.json in {folder}")
    card = folder / "README.md"
    if not card.is_file():
        raise UserError(f"{folder} has no model card, README.md; export it again, or write one")
    try:
        ModelCard.load(card)
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{card}: what stands between the --- lines is no metadata of a model card: {error}") from error
    load(str(folder), "cpu")


@contextmanager
def _hub_errors(repo_id: str) -> Iterator[None]:
    """Turn what the hub's client raises into one message."""
    try:
        yield
    except HFValidationError as error:
        raise UserError(f"{repo_id} is no id of a repository, NAME or OWNER/NAME: {error}") from error
    except LocalTokenNotFoundError as error:
        raise UserError("no token of the Hugging Face hub: log in with hf auth login, or set HF_TOKEN") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = {
            401: "the token is missing or not accepted: log in with hf auth login, or set HF_TOKEN",
            403: "this token may not write there: it needs the right to, and you a place among the owner's members",
        }.get(status, str(error))
        raise UserError(f"the Hugging Face hub refuses {repo_id} ({status}): {reason}") from error
    except (_HTTPError, ConnectionError) as error:
        raise UnreachableError(f"cannot reach the Hugging Face hub: {error}") from error

"""``mmcl push``."""

from __future__ import annotations

from typing import Annotated

import typer


def push(
    model: Annotated[str, typer.Argument(metavar="RUN_OR_MODEL", help="A run, or the folder of an exported model.")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="Repository of the hub: NAME or OWNER/NAME.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to upload to, by default the main one.")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Of the commit.")] = None,
) -> None:
    """Upload a model and its card to the Hugging Face hub; checkpoints, data and reports stay here."""
    from mmcl.export.push import push_model

    typer.echo(push_model(model, repo_id, private=private, revision=revision, message=message))

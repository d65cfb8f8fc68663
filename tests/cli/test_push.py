from __future__ import annotations

from typing import Any

import pytest

from mmcl.cli.main import main


def test_options_reach_the_upload_and_the_address_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("mmcl.export.push.push_model", lambda *given, **named: asked.append((given, named)) or "url")
    assert main(["push", "runs/x", "me/x", "--private", "--revision", "lr", "-m", "higher"]) == 0
    assert asked == [(("runs/x", "me/x"), {"private": True, "revision": "lr", "message": "higher"})]
    assert capsys.readouterr().out == "url\n"


def test_a_mistake_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "nothing", "me/x"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: nothing is neither a finished run nor a folder that mmcl exported"
    )

"""What every page must be: whole, loading nothing, its pictures in it."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

from PIL import Image

VOID = {"meta", "img", "br", "link", "input"}
FORBIDDEN = {"script", "iframe", "object", "embed", "link", "form", "base", "video", "audio"}


class Elements(HTMLParser):
    """Collects tags and attributes, and checks that what opens closes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def check_page(page: str) -> Elements:
    """Check that tags are balanced, that nothing runs and nothing is fetched, and return the elements."""
    elements = Elements(page)
    assert {tag for tag, _ in elements.tags} & FORBIDDEN == set()
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    for tag, attributes in elements.tags:
        assert (
            re.match(r"data:image/(png|jpeg);base64,", attributes["src"] or "")
            if tag == "img"
            else ("src" not in attributes)
        )
        assert (attributes.get("href") or "#").startswith("#")
        assert "url(" not in (attributes.get("style") or "")
    style = page[page.index("<style>") : page.index("</style>")]
    assert not re.search(r"@import|url\(|https?:", style)
    assert "default-src 'none'" in page
    return elements


def pictures_of(elements: Elements) -> list[Image.Image]:
    """Return the pictures of a page, each decoded whole."""
    found = []
    for tag, attributes in elements.tags:
        if tag == "img":
            image = Image.open(io.BytesIO(base64.b64decode((attributes["src"] or "").partition(",")[2], validate=True)))
            image.load()
            found.append(image)
    return found

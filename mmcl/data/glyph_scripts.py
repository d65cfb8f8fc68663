"""The script of a character, read off its Unicode name.

Unicode names begin with the script or the family of signs: "greek small letter alpha", "box drawings light
horizontal". Each class below is named by such leading words, so that the class name is itself in the vocabulary of the
captions. Arrows are told by the word wherever it stands; what belongs to no class is a ``symbol``.
"""

from __future__ import annotations

SYMBOL = "symbol"
"""The class of punctuation, digits, operators and other signs whose names begin with no script."""

_LEADING_WORDS = {
    "latin": "latin",
    "greek": "greek",
    "coptic": "greek",  # fourteen letters in Unicode's block "Greek and Coptic": too few for a class of their own
    "cyrillic": "cyrillic",
    "armenian": "armenian",
    "hebrew": "hebrew",
    "arabic": "arabic",
    "arabic-indic": "arabic",
    "extended arabic-indic": "arabic",
    "nko": "nko",
    "lao": "lao",
    "georgian": "georgian",
    "ogham": "ogham",
    "canadian syllabics": "canadian syllabics",
    "tifinagh": "tifinagh",
    "lisu": "lisu",
    "old italic": "old italic",
    "braille": "braille",
    "mathematical": "mathematical",
    "modifier letter": "modifier letter",
    "box drawings": "box drawings",
    "domino tile": "domino tile",
    "playing card": "playing card",
    "hexagram": "hexagram",
    "tetragram": "tetragram",
    "apl functional symbol": "apl functional symbol",
}
_ARROW_WORDS = frozenset(("arrow", "arrows", "arrowhead", "harpoon", "harpoons"))

SCRIPTS = (*dict.fromkeys(_LEADING_WORDS.values()), "arrow", SYMBOL)
"""The classes, in the order of the rules."""


def script_of(name: str) -> str:
    """Return the class of a character from its Unicode name in lower case; one of `SCRIPTS`."""
    words = name.split()
    # The longest match wins, so that "canadian syllabics ..." could stand beside a class "canadian".
    for length in range(min(3, len(words)), 0, -1):
        script = _LEADING_WORDS.get(" ".join(words[:length]))
        if script is not None:
            return script
    return "arrow" if _ARROW_WORDS.intersection(words) else SYMBOL

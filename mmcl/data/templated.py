"""What texts of one template differ in: numbers, dates, addresses and names, taken out so that the rest is compared.

The rules are for English, and err on the side of leaving a text as it is.
"""

from __future__ import annotations

import re

NUMBER, ADDRESS, NAME = "{number}", "{address}", "{name}"

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?\b"
_YEAR = r"(?:,?\s+\d{4}\b)?"
_ADDRESS = re.compile(r"(?:https?://|www\.)\S*[^\s.,;:!?)\]}'\"]|(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?<!\S)@\w+")
_DATE = re.compile(rf"\b(?:{_DAY}\s+(?:of\s+)?{_MONTH}|{_MONTH}\s+{_DAY}){_YEAR}", re.IGNORECASE)
# Any run of letters and digits with a digit in it, such as A-1027, 3.5, 12:30 and 2024-03-12, with its sign. Letters
# are those of ASCII, for other scripts write numbers between words without a space.
_NUMBER = re.compile(
    r"(?<![A-Za-z\d])[#$€£¥]?(?:[A-Za-z]+-?)?\d[A-Za-z\d]*(?:[.,:/-][A-Za-z]*\d[A-Za-z\d]*)*%?", re.ASCII
)
_PLACEHOLDER = re.compile(r"\{+[^{}]*\}+")
# A word, and the punctuation around it.
_WORD = re.compile(r"(?P<before>[\"'(\[]*)(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*)(?P<after>\W*)")
_TITLES = frozenset({"Mr", "Mrs", "Ms", "Dr", "Prof", "St"})
_SENTENCE_ENDS = frozenset(".!?:;")


def without_particulars(text: str) -> str:
    """Return a text with its particulars replaced: those that are told by their form, and names by their capitals.

    - ``{number}``: numbers, dates with the name of a month, and codes with a digit in them;
    - ``{address}``: web and e-mail addresses, and handles (``@someone``);
    - ``{name}``: placeholders in braces; and runs of words with a capital and small letters after it that do not begin
      a sentence, unless more than half of the text's words are such: in a headline capitals tell of no names.

    Args:
        text: of Unicode's form NFKC.
    """
    text = _PLACEHOLDER.sub(NAME, text)
    for pattern, replacement in ((_ADDRESS, ADDRESS), (_DATE, NUMBER), (_NUMBER, NUMBER)):
        text = pattern.sub(replacement, text)
    return _without_names(text)


def _without_names(text: str) -> str:
    words = text.split()
    found = [_WORD.fullmatch(word) for word in words]
    is_name, begins = [], True
    for word, match in zip(words, found, strict=True):
        is_name.append(match is not None and not begins and _is_capitalised(match["word"]))
        begins = not _SENTENCE_ENDS.isdisjoint(word) and not (match and match["word"] in _TITLES)
    if 2 * sum(is_name) > sum(match is not None for match in found):
        return " ".join(words)
    kept: list[str] = []
    for word, match, replaced in zip(words, found, is_name, strict=True):
        if not replaced or match is None:
            kept.append(word)
        elif kept[-1].endswith(NAME) and not match["before"]:
            kept[-1] += match["after"]
        else:
            kept.append(f"{match['before']}{NAME}{match['after']}")
    return " ".join(kept)


def _is_capitalised(word: str) -> bool:
    return word[0].isupper() and any(letter.islower() for letter in word) and word[:2] not in ("I'", "I’")

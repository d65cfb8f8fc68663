from __future__ import annotations

from dataclasses import replace

from mmcl.data.check import DataCheck, Overlap, TextLengths, UnreadableRow
from mmcl.data.check_lines import lines_of
from mmcl.data.guesses import Guess
from mmcl.data.repeats import Repeats

GUESSES = (Guess("image", "photo", "x"), Guess("text", "title", "x"), Guess("group", None, "x"))
NOTHING = Repeats(100, 0, None, ())
CHECK = DataCheck("a.csv", 2_000, GUESSES, pictures=NOTHING, texts=NOTHING)


def test_what_was_looked_at_is_said_where_nothing_is_wrong() -> None:
    assert list(lines_of(CHECK)) == [
        "2,000 rows   image <- photo   text <- title",
        "pictures   all can be read; none repeats, by pixels",
        "captions   none is empty; none repeats, by text",
    ]


def test_findings_are_counted() -> None:
    check = replace(
        CHECK,
        num_groups=900,
        num_classes=12,
        without_picture=(1,),
        without_caption=(1, 2, 3),
        without_label=(4, 5),
        without_score=(6,),
        pictures=Repeats(100, 1, 0, ((0, 1),)),
        texts=Repeats(1_000, 1_400, 90, ()),
        lengths=TextLengths("some/model", 77, 2_000, 26),
        overlap=Overlap("of b.csv", 50, {"picture": (1, 2), "text": ()}, ("group",)),
    )
    assert list(lines_of(check))[1:] == [
        "pictures   all can be read; 1 row without one; 1 row repeats an earlier one, by pixels",
        "captions   3 empty; 1,400 rows repeat an earlier one, by text; 9.0% of the different captions are shared by"
        " several groups; 1.3% are longer than the 77 tokens of some/model and are cut",
        "groups     900",
        "labels     12 classes; 2 rows without a label",
        "scores     1 row without a score",
        "overlap    2 by picture, 0 by text, of 50 rows of b.csv; it has no column to compare by group",
    ]


def test_lengths_that_were_not_counted_say_why() -> None:
    check = replace(CHECK, lengths=TextLengths("some/model", not_counted="no such model"))
    assert list(lines_of(check))[-1] == "lengths    not counted: no such model"


def test_the_first_five_unreadable_rows_are_shown() -> None:
    bad = tuple(UnreadableRow(row, f"{row}.jpg", "an empty file") for row in range(7))
    lines = list(lines_of(replace(CHECK, unreadable=bad)))
    assert lines[1] == "pictures   7 cannot be read; none repeats, by pixels"
    assert lines[3:] == [*(f"row {row}: {row}.jpg: an empty file" for row in range(5)), "... and 2 more"]


def test_a_path_is_not_said_twice() -> None:
    bad = (UnreadableRow(3, "a/b.jpg", "no such file: a/b.jpg"), UnreadableRow(4, None, "an empty file"))
    assert list(lines_of(replace(CHECK, unreadable=bad)))[3:] == [
        "row 3: no such file: a/b.jpg",
        "row 4: an empty file",
    ]

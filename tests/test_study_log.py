from __future__ import annotations

from pathlib import Path

from mmcl.study_log import LOG_FILE, StudyLog

FILE = "a/results/x.json"


def save_result(folder: Path) -> None:
    (folder / FILE).parent.mkdir(parents=True)
    (folder / FILE).write_text("{}")


def test_a_result_is_known_by_what_it_follows_from(tmp_path: Path) -> None:
    save_result(tmp_path)
    assert not StudyLog(tmp_path)
    StudyLog(tmp_path).add(FILE, {"model": "1", "k": "5"})
    log = StudyLog(tmp_path)
    assert log
    assert log.changes(FILE, {"model": "1", "k": "5"}) == []
    assert log.changes(FILE, {"model": "2", "k": "5", "images": "0"}) == ["model", "images"]
    assert log.changes(FILE, {"model": "1"}) == ["k"]
    assert log.changes("b/results/x.json", {"model": "1"}) is None


def test_the_last_line_counts_and_a_torn_one_does_not(tmp_path: Path) -> None:
    save_result(tmp_path)
    StudyLog(tmp_path).add(FILE, {"k": "5"})
    with (tmp_path / LOG_FILE).open("a") as file:
        file.write('{"file": "a/results/x.json", "follows')
    log = StudyLog(tmp_path)
    assert log.changes(FILE, {"k": "5"}) == []
    log.add(FILE, {"k": "6"})
    assert StudyLog(tmp_path).changes(FILE, {"k": "6"}) == []


def test_a_result_that_was_removed_is_not_there(tmp_path: Path) -> None:
    save_result(tmp_path)
    StudyLog(tmp_path).add(FILE, {"k": "5"})
    (tmp_path / FILE).unlink()
    assert StudyLog(tmp_path).changes(FILE, {"k": "5"}) is None


def test_what_was_forgotten_is_not_there_until_it_is_added_anew(tmp_path: Path) -> None:
    save_result(tmp_path)
    log = StudyLog(tmp_path)
    log.forget(FILE)
    assert not (tmp_path / LOG_FILE).exists(), "nothing to forget"
    log.add(FILE, {"k": "5"})
    log.forget(FILE)
    for one in (log, StudyLog(tmp_path)):
        assert not one
        assert one.changes(FILE, {"k": "5"}) is None
    log.add(FILE, {"k": "6"})
    assert StudyLog(tmp_path).changes(FILE, {"k": "6"}) == []

"""Tests that a damaged spool file is set aside whole and reported, and sampling goes on with a new one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge.agent.settings import Settings
from edge.agent.spool import Spool, SpoolEntry

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 4096
MESSAGES = 400


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def flip_payload(path: Path) -> None:
    """One digit of a value, which SQLite itself can't notice."""
    content = path.read_bytes()
    overwrite(path, content.index(b"value-00200-"), b"value-00201-")


def empty_with_a_journal(path: Path) -> None:
    Path(f"{path}-wal").write_bytes(b"\x37\x7f\x06\x82" + bytes(60))
    truncate(path, 0)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "the header is overwritten": lambda path: overwrite(path, 0, b"\xff" * 100),
    "it is text": lambda path: overwrite(path, 0, b"no database at all\n" * 200),
    "the last page is torn": lambda path: truncate(path, path.stat().st_size - PAGE // 2),
    "half of it is missing": lambda path: truncate(path, path.stat().st_size // 2 // PAGE * PAGE),
    "a page in the middle is zero": lambda path: overwrite(
        path, path.stat().st_size // 2 // PAGE * PAGE, bytes(PAGE)
    ),
    "many pages are noise": lambda path: overwrite(path, 2 * PAGE, b"\xa5" * PAGE * 5),
    "the schema page is noise": lambda path: overwrite(path, 200, b"\x5a" * (PAGE - 200)),
    "a payload has another digit": flip_payload,
    "a table is missing": lambda path: change(path, "DROP TABLE spool"),
    "a table has other columns": lambda path: change(
        path, "ALTER TABLE message RENAME COLUMN payload TO content"
    ),
    "it is empty and has a journal": empty_with_a_journal,
}


def filled_spool(path: Path) -> Spool:
    spool = Spool.open(path, Settings())
    spool.put([SpoolEntry(b"value-%05d-" % number + bytes(100), 1) for number in range(1, MESSAGES + 1)])
    return spool


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside_whole_and_a_new_one_begun(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "spool"
    filled = filled_spool(path)
    epoch = filled.epoch
    filled.close()
    DAMAGES[damage](path)
    damaged = path.read_bytes()
    spool = Spool.open(path, Settings())
    spool.after(0, 2 * MESSAGES)  # a wrong payload is noticed when it is read
    if damage == "a table is missing":  # the messages are whole, and get a new epoch
        assert (spool.waiting, spool.set_aside) == (MESSAGES, 0)
    else:
        assert (spool.waiting, spool.set_aside) == (0, 1)
        (aside,) = (one for one in tmp_path.glob("spool.damaged-*Z"))
        if damage != "a payload has another digit":  # that file was open, and its journal was written back
            assert aside.read_bytes() == damaged
        assert "it is set aside as" in caplog.text
    assert spool.epoch != epoch
    spool.put([SpoolEntry(b"new", 1)])
    assert spool.after(0, 1000)[-1].payload == b"new"
    spool.close()


@pytest.mark.parametrize("action", ["put", "after", "forget", "contains"])
def test_damage_found_while_it_runs_is_set_aside_too(action: str, tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = filled_spool(path)
    change(path, "DROP TABLE message")
    if action == "put":
        spool.put([SpoolEntry(b"new", 1)])
    elif action == "after":
        assert spool.after(0, 10) == []
    elif action == "forget":
        assert spool.forget(spool.epoch, [(1, 9)]) == 0
    else:
        assert not spool.contains(1)
    assert spool.set_aside == 1
    spool.put([SpoolEntry(b"newer", 1)])
    assert spool.after(0, 1000)[-1].payload == b"newer"
    spool.close()


def test_messages_above_the_age_leave_and_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    filled_spool(path).close()
    change(path, "UPDATE message SET put_s = put_s - 1000 WHERE number <= 100")
    spool = Spool.open(path, Settings(spool_age_s=500))
    spool.put([SpoolEntry(b"new", 1)])
    assert (spool.waiting, spool.evicted_messages, spool.evicted_readings) == (301, 100, 100)
    assert spool.after(0, 1)[0].number == 101
    spool.close()

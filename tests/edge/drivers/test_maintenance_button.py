"""Tests the button of a device: readings are flagged while maintenance lasts, also after a restart."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from edge.drivers import Pack
from edge.drivers.maintenance_button import GpioButton, MaintainedDriver
from edge.drivers.site_drivers import DeviceFileError, build_drivers, read_site_file
from edge.wire.receipts import RECORDED_PROPERTY
from edge.wire.senml import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLAGGED = (("quality", "4"),)


class ButtonDevice:
    """A device whose clocks and button a test moves; it yields a pack at each call of `read`."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.now_s, self.boot_s = 1_790_000_000.0, 500.0
        self.sentences: list[str] = []
        self.pressed = 0
        self.fault: Exception | None = None
        self.properties: tuple[tuple[str, str], ...] = ()
        self.opened = self.closed = 0
        self.driver = MaintainedDriver(
            self,
            self.open,
            minutes=60.0,
            state=folder / "state",
            on_change=self.sentences.append,
            clock=lambda: self.now_s,
            monotonic=lambda: self.boot_s,
            **options,
        )
        self.packs_read = self.driver.packs()

    def packs(self) -> Iterator[Pack | None]:
        while True:
            yield Pack(
                self.now_s, [Record(name="ph", time_s=self.now_s, value=7.0)], properties=self.properties
            )

    def open(self) -> ButtonDevice:
        self.opened += 1
        return self

    def presses(self) -> int:
        if self.fault is not None:
            raise self.fault
        pressed, self.pressed = self.pressed, 0
        return pressed

    def close(self) -> None:
        self.closed += 1

    def read(self, *, after_s: float = 10.0, presses: int = 0) -> tuple[tuple[str, str], ...]:
        """Return the properties of the pack after some time, in which the button was pressed."""
        self.now_s += after_s
        self.boot_s += after_s
        self.pressed = presses
        pack = next(self.packs_read)
        assert pack is not None
        return pack.properties


def test_a_press_begins_maintenance_and_the_next_one_ends_it(tmp_path: Path) -> None:
    device = ButtonDevice(tmp_path)
    assert device.read() == ()
    assert device.read(presses=3) == FLAGGED, "a bouncing contact is one press"
    assert device.read(after_s=0.5, presses=1) == FLAGGED, "so is a second one at once"
    assert device.read() == FLAGGED
    assert device.read(presses=1) == ()
    assert [one.partition(" by")[0] for one in device.sentences] == [
        "maintenance was begun", "maintenance was ended",
    ]  # fmt: skip
    assert not (tmp_path / "state").exists()
    device.packs_read.close()  # type: ignore[attr-defined]
    assert (device.opened, device.closed) == (1, 1)


def test_maintenance_that_is_forgotten_ends_by_itself_whatever_the_clock_does(tmp_path: Path) -> None:
    device = ButtonDevice(tmp_path)
    device.read(presses=1)
    device.now_s -= 1e8  # the clock is set
    assert device.read(after_s=3590) == FLAGGED
    assert device.read() == ()
    assert device.sentences[-1] == "maintenance has ended by itself"


def test_maintenance_goes_on_after_a_restart(tmp_path: Path) -> None:
    ButtonDevice(tmp_path).read(presses=1)
    again = ButtonDevice(tmp_path)
    assert again.read(after_s=600) == FLAGGED
    assert again.read(after_s=3000) == (), "until its time is over"
    (tmp_path / "state").write_text("9e99")
    assert ButtonDevice(tmp_path).read(after_s=3601) == (), "no longer than at most"
    for damaged in ("", "nan", "soon", "\x00"):
        (tmp_path / "state").write_text(damaged)
        assert ButtonDevice(tmp_path).read() == ()


def test_a_flag_of_the_instrument_is_replaced_and_recorded_readings_are_not_flagged(tmp_path: Path) -> None:
    device = ButtonDevice(tmp_path)
    device.read(presses=1)
    device.properties = (("quality", "3"), ("clock", "re-dated"))
    assert device.read() == (("clock", "re-dated"), *FLAGGED)
    device.properties = (RECORDED_PROPERTY,)
    assert device.read() == (RECORDED_PROPERTY,)


def test_a_button_that_fails_is_reported_once_and_opened_again(tmp_path: Path) -> None:
    device = ButtonDevice(tmp_path)
    device.fault = OSError("no such chip")
    assert [device.read(after_s=after_s) for after_s in (1, 6, 1, 6)] == [()] * 4
    assert device.sentences == ["maintenance button: no such chip: it is opened again every 5 s"]
    assert (device.opened, device.closed) == (3, 3)
    device.fault = None
    assert device.read(presses=1) == FLAGGED


def test_presses_are_falling_edges_of_a_line_with_a_pull_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's calls, as in its version 2; the lines themselves are a device's."""
    waiting = [[object(), object()], []]
    requested: list[Any] = []
    released: list[bool] = []
    request = SimpleNamespace(
        wait_edge_events=lambda timeout: timeout == dt.timedelta(0) and bool(waiting[0]),
        read_edge_events=lambda: waiting.pop(0),
        release=lambda: released.append(True),
    )

    def request_lines(chip: str, consumer: str, config: Any) -> Any:
        requested.append((chip, consumer, config))
        return request

    library = SimpleNamespace(
        LineSettings=SimpleNamespace,
        line=SimpleNamespace(Edge=SimpleNamespace(FALLING=2), Bias=SimpleNamespace(PULL_UP=4)),
        request_lines=request_lines,
    )
    monkeypatch.setitem(__import__("sys").modules, "gpiod", library)
    button = GpioButton("/dev/gpiochip0", 27, 0.05)
    settings = SimpleNamespace(edge_detection=2, bias=4, debounce_period=dt.timedelta(seconds=0.05))
    assert requested == [("/dev/gpiochip0", "towntwin", {27: settings})]
    assert (button.presses(), button.presses()) == (2, 0)
    button.close()
    assert released == [True]


SITE = """
area = "a"
device = "d"
spool = "{folder}/spool"

[driver.probe]
kind = "simulator"
quantities = ["ph"]
interval_s = 0.1

[maintenance_button]
"""


def test_the_table_of_a_site_file_adds_the_button(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(folder=tmp_path) + 'line = 27\nchip = "/dev/no-such-chip"\nminutes = 30\n')
    sentences: list[str] = []
    driver = build_drivers(read_site_file(path), tmp_path, print, on_maintenance=sentences.append)
    packs = driver.packs()
    while next(packs) is None:
        pass
    packs.close()  # type: ignore[attr-defined]
    assert len(sentences) == 1
    assert sentences[0].startswith("maintenance button: ")


@pytest.mark.parametrize(
    "table", ["", "line = -1", "line = 1\nminutes = 0.5", "line = 1\nminutes = nan", "pin = 1"]
)
def test_a_wrong_table_is_a_sentence(tmp_path: Path, table: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(folder=tmp_path) + table + "\n")
    with pytest.raises(DeviceFileError, match="maintenance_button"):
        build_drivers(read_site_file(path), tmp_path, print)

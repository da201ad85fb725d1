"""Flags the readings of a device while its maintenance lasts, which a button at a GPIO line begins and ends.

The flag, QARTOD 4, goes with the readings: the device needs no connection for it, and the platform stores
them without judging them. Maintenance that is not ended ends by itself, and one that has begun goes on after
a restart of the device.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from edge.drivers.driver_options import convert_options
from edge.drivers.polling import log_fault
from edge.wire.receipts import QUALITY_PROPERTY, RECORDED_PROPERTY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.drivers import Driver, Pack

FAIL = "4"  # QARTOD flag
RETRY_S = 5.0  # until a line that failed is opened again
SHORTEST_S = 1.0  # a press sooner after the last is the same one, of an impatient hand


class ButtonSource(Protocol):
    """A button."""

    def presses(self) -> int:
        """Return how often it was pressed since the last call, without waiting; raises if it fails."""
        ...

    def close(self) -> None:
        """Release the button."""
        ...


class GpioButton:
    """A button between a GPIO line and ground, with the line's pull-up resistor (gpiod 2).

    Parameters
    ----------
    chip, line : ``/dev/gpiochip0`` and the number of the line
    debounce_s : shorter pulses are ignored by the kernel [s]

    """

    def __init__(self, chip: str, line: int, debounce_s: float) -> None:
        import gpiod  # noqa: PLC0415 - only a device with GPIO lines has it

        settings = gpiod.LineSettings(
            edge_detection=gpiod.line.Edge.FALLING,
            bias=gpiod.line.Bias.PULL_UP,
            debounce_period=timedelta(seconds=debounce_s),
        )
        self._request = gpiod.request_lines(chip, consumer="towntwin", config={line: settings})

    def presses(self) -> int:
        """Return the number of falling edges since the last call."""
        if not self._request.wait_edge_events(timedelta(0)):
            return 0
        return len(self._request.read_edge_events())

    def close(self) -> None:
        """Release the line."""
        self._request.release()


class MaintenanceButtonOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table ``[maintenance_button]`` of a site file.

    Attributes
    ----------
    line, chip, debounce_s : see `GpioButton`
    minutes : after so long maintenance ends by itself [min]

    """

    line: int
    chip: str = "/dev/gpiochip0"
    debounce_s: float = 0.05
    minutes: float = 240.0

    def __post_init__(self) -> None:
        """Check what the types do not."""
        if self.line < 0 or not 0 <= self.debounce_s <= 1 or not 1 <= self.minutes <= 43_200:
            raise ValueError("line is not negative, debounce_s 0 to 1, minutes 1 to 43,200")


class MaintainedDriver:
    """Driver of a device with a button: flags the packs of another driver while maintenance lasts.

    Parameters
    ----------
    driver : of the readings; recorded packs are not flagged, as they were measured before
    open_button : opens the button; it may raise anything
    minutes : after so long maintenance ends by itself [min]
    state : file with the end of the maintenance, Unix seconds [s]
    on_change : called with a sentence when maintenance begins or ends, or the button fails
    clock, monotonic : Unix time and monotonic time [s]

    """

    perishable = True

    def __init__(
        self,
        driver: Driver,
        open_button: Callable[[], ButtonSource],
        *,
        minutes: float,
        state: Path,
        on_change: Callable[[str], None] = log_fault,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._driver, self._open_button, self._state = driver, open_button, state
        self._longest_s, self._on_change = minutes * 60.0, on_change
        self._clock, self._monotonic = clock, monotonic
        self._button: ButtonSource | None = None
        self._retry_at_s = self._pressed_s = -math.inf
        self._fault = ""
        left_s = _read_end(state) - clock()
        # By the monotonic clock: one that is set meanwhile neither shortens nor prolongs it.
        self._ends_s = monotonic() + min(left_s, self._longest_s) if left_s > 0 else -math.inf

    def packs(self) -> Iterator[Pack | None]:
        """Yield the packs of the driver, with the flag while maintenance lasts."""
        packs = self._driver.packs()
        try:
            for pack in packs:
                self._update()
                yield pack if pack is None or not self._is_active else _flagged(pack)
        finally:
            close = getattr(packs, "close", None)  # an iterator that is no generator has none
            if close is not None:
                close()
            self._close_button()

    @property
    def _is_active(self) -> bool:
        return self._ends_s > -math.inf

    def _update(self) -> None:
        """Begin or end maintenance where the button was pressed or the time is over."""
        now_s = self._monotonic()
        if self._is_active and now_s >= self._ends_s:
            self._end("maintenance has ended by itself")
        if not self._read_presses(now_s) or now_s - self._pressed_s < SHORTEST_S:
            return
        self._pressed_s = now_s
        if self._is_active:
            self._end("maintenance was ended by the button")
            return
        self._ends_s = now_s + self._longest_s
        self._on_change(
            "maintenance was begun by the button: readings are flagged until it is pressed again, at most"
            f" {self._longest_s / 60:g} min"
        )
        try:
            self._state.write_text(f"{self._clock() + self._longest_s:.0f}\n")
        except OSError as error:
            self._on_change(f"maintenance does not outlast a restart: {self._state}: {error.strerror}")

    def _end(self, sentence: str) -> None:
        self._ends_s = -math.inf
        self._on_change(sentence)
        with suppress(OSError):
            self._state.unlink(missing_ok=True)

    def _read_presses(self, now_s: float) -> int:
        """Return the number of presses; a button that fails is opened again after `RETRY_S`."""
        if now_s < self._retry_at_s:
            return 0
        try:
            if self._button is None:
                self._button = self._open_button()
            presses = self._button.presses()
        except Exception as error:  # noqa: BLE001 - no failure of a button may end the agent
            self._close_button()
            self._retry_at_s = now_s + RETRY_S
            sentence = f"maintenance button: {error or type(error).__name__}"
            if sentence != self._fault:
                self._fault = sentence
                self._on_change(f"{sentence}: it is opened again every {RETRY_S:g} s")
            return 0
        self._fault = ""
        return presses

    def _close_button(self) -> None:
        button, self._button = self._button, None
        if button is not None:
            with suppress(Exception):  # a button that fails needs no closing
                button.close()


def add_button(
    driver: Driver, table: dict[str, Any], state: Path, on_change: Callable[[str], None]
) -> MaintainedDriver:
    """Return the driver with the button of a site file's table. Raises `DriverOptionsError`."""
    chosen = convert_options(table, MaintenanceButtonOptions, driver="maintenance_button")
    return MaintainedDriver(
        driver,
        lambda: GpioButton(chosen.chip, chosen.line, chosen.debounce_s),
        minutes=chosen.minutes,
        state=state,
        on_change=on_change,
    )


def _flagged(pack: Pack) -> Pack:
    """Return a pack whose readings have the flag, instead of another of the instrument."""
    if RECORDED_PROPERTY in pack.properties:
        return pack
    others = tuple(one for one in pack.properties if one[0] != QUALITY_PROPERTY)
    return msgspec.structs.replace(pack, properties=(*others, (QUALITY_PROPERTY, FAIL)))


def _read_end(state: Path) -> float:
    """Return the end of the maintenance that a file has, Unix seconds [s]; -inf without one."""
    try:
        return float(state.read_text("ascii"))
    except (OSError, ValueError):
        return -math.inf

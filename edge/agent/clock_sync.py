"""Detects the first time synchronisation after the start of a device without a real-time clock.

Until then the device's clock may be years behind. Readings are stored with the clock's offset to the boot
clock, wait in the spool, and are re-dated once, when the time comes: the boot clock measured how long ago
they were taken.
"""

from __future__ import annotations

import ctypes
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edge.wire import senml
from edge.wire.boot_clock import boot_clock_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.drivers import Pack

STEP_S = 2.0  # a larger change of the offset in a moment is a clock that was set; NTP slews less
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TIMEX_BYTES, STATUS_BYTE = 512, 40  # struct timex of adjtimex(2) on 64-bit Linux, larger than any
STA_UNSYNC = 0x0040


class UnsetClock(NamedTuple):
    """Clock by which a reading was taken: id of the boot, and Unix time minus boot clock [s]."""

    boot: str
    offset_s: float


class ClockSync:
    """State of the device's clock: waiting for its first synchronisation, synchronised, or given up.

    Parameters
    ----------
    is_synchronised : whether the operating system's clock is synchronised
    clock, boot_clock : Unix time and time since the boot [s]
    boot : id of the boot

    Attributes
    ----------
    waiting : whether the synchronisation is still waited for
    set_at_s : boot clock of the synchronisation [s]; minus infinity if the clock was right at the start

    """

    def __init__(
        self,
        *,
        is_synchronised: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.time,
        boot_clock: Callable[[], float] = boot_clock_s,
        boot: str | None = None,
    ) -> None:
        self._is_synchronised = is_synchronised or kernel_clock_is_synchronised
        self._clock, self._boot_clock = clock, boot_clock
        self.boot = boot_id() if boot is None else boot
        self._first_offset_s = self.offset_s
        self.waiting = not self._is_synchronised()
        self.set_at_s = math.inf if self.waiting else -math.inf

    @property
    def offset_s(self) -> float:
        """Unix time minus boot clock, now [s]."""
        return self._clock() - self._boot_clock()

    def check(self) -> bool:
        """Return whether the clock was found to be synchronised or set just now, for the first time."""
        if self.set_at_s < math.inf:
            return False
        if abs(self.offset_s - self._first_offset_s) <= STEP_S and not self._is_synchronised():
            return False
        self.waiting, self.set_at_s = False, self._boot_clock()
        return True

    def give_up(self) -> None:
        """End the wait: from now on readings are sent with the times they have."""
        self.waiting = False

    def unset_clock(self, pack: Pack) -> UnsetClock | None:
        """Return the clock of a pack that was taken before the synchronisation; None if the time is right."""
        if pack.taken_s is None or pack.taken_s > self.set_at_s:
            return None
        clock = UnsetClock(self.boot, pack.due_s - pack.taken_s)
        was_set_before = self.set_at_s < math.inf and abs(self.offset_s - clock.offset_s) <= STEP_S
        return None if was_set_before else clock  # the check is later than the synchronisation


def shift_times(payload: bytes, shift_s: float) -> bytes:
    """Return a SenML JSON pack with all times shifted [s]. Raises `PayloadError`.

    >>> shift_times(b'[{"n":"ph","v":7.1,"t":100}]', 1.7e9)
    b'[{"bn":"ph","bt":1700000100.0,"v":7.1}]'
    """
    records = senml.decode(payload, content_type=senml.CONTENT_TYPE_JSON, now_s=0.0)
    return senml.encode_json(msgspec.structs.replace(one, time_s=one.time_s + shift_s) for one in records)


def boot_id() -> str:
    """Return the id that Linux gives each boot; empty elsewhere, where the clock is taken as synchronised."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def kernel_clock_is_synchronised() -> bool:
    """Whether a time service has set the kernel's clock (adjtimex(2)); True where that can't be found out."""
    status = ctypes.create_string_buffer(TIMEX_BYTES)
    try:
        result = ctypes.CDLL(None, use_errno=True).adjtimex(status)
    except (OSError, AttributeError):  # not Linux
        return True
    if result < 0 or ctypes.sizeof(ctypes.c_long) != 8:
        return True
    flags = int.from_bytes(status.raw[STATUS_BYTE : STATUS_BYTE + 4], "little")
    return not flags & STA_UNSYNC

"""Driver of instruments that answer by HTTP with JSON, such as cameras and radars that count vehicles."""

from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from edge.drivers.driver_options import convert_options
from edge.drivers.payload_mapping import PayloadMapping, map_payload
from edge.drivers.polling import PollingDriver
from edge.wire.errors import EdgeError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.wire.senml import Record

MAX_BYTES = 1 << 20


class HttpInstrumentError(EdgeError):
    """An instrument gave no usable answer by HTTP; the message states its address and what happened."""


class HttpCounterOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options in a site file: address, mapping and headers, and the times of `PollingDriver` [s]."""

    url: str
    mapping: PayloadMapping
    headers: dict[str, str] = {}
    interval_s: float = 60.0
    jitter_s: float = 0.0
    timeout_s: float = 2.0

    def __post_init__(self) -> None:
        """Check what the types do not."""
        if urlsplit(self.url).scheme not in {"http", "https"}:
            raise ValueError(f"url {self.url!r} must begin with http:// or https://")
        if self.interval_s <= 0 or self.timeout_s <= 0 or self.jitter_s < 0:
            raise ValueError("interval_s and timeout_s must be positive, jitter_s not negative")


class HttpCounter:
    """Reads one instrument; counters that only rise become rates between two readings."""

    def __init__(self, options: HttpCounterOptions) -> None:
        self._options = options
        self._rates = options.mapping.counter_rates()

    def read(self, time_s: float) -> list[Record]:
        """Return the records of one reading.

        Parameters
        ----------
        time_s : time of the reading, Unix seconds [s]

        Raises
        ------
        EdgeError
            If there is no answer, or one that does not fit the mapping.

        """
        return self._rates.records(map_payload(self._fetch(), self._options.mapping, now_s=time_s))

    def _fetch(self) -> bytes:
        """Fetch the answer, within the time and up to a size."""
        deadline_s = time.monotonic() + self._options.timeout_s
        request = urllib.request.Request(self._options.url, headers=self._options.headers)  # noqa: S310
        body = b""
        try:
            with urllib.request.urlopen(request, timeout=self._options.timeout_s) as answer:  # noqa: S310
                while part := answer.read1(65_536):
                    body += part
                    if len(body) > MAX_BYTES or time.monotonic() > deadline_s:
                        raise HttpInstrumentError(f"{self._options.url}: the answer is too long or too slow")
        except (OSError, ValueError) as error:
            raise HttpInstrumentError(f"{self._options.url}: no answer ({error})") from error
        return body


def create(options: dict[str, Any], folder: Path) -> PollingDriver:
    """Create the driver from the options of `HttpCounterOptions`.

    Raises
    ------
    DriverOptionsError
        If an option or the mapping is invalid.

    """
    chosen = convert_options(options, HttpCounterOptions, driver="http_counter", folder=folder)
    return PollingDriver(
        HttpCounter(chosen).read, name=chosen.url, interval_s=chosen.interval_s, jitter_s=chosen.jitter_s
    )

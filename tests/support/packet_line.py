"""A line between two network namespaces that delays, loses, overtakes and doubles IP packets, or is cut.

It does what ``tc netem`` does, in this process and on any kernel with TUN devices: what one device is given,
the other one receives later, never, twice, or behind a packet that was sent after it.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.network_namespaces import NetworkNamespace

# <linux/if_tun.h>
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x4004_54CA, 0x0001, 0x1000
PACKET_BYTES = 65_536
IPV4 = 4
LONGEST_WAIT_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class LineConditions:
    """What a line does to each packet.

    Attributes
    ----------
    delay_s, jitter_s : a packet takes ``delay_s`` and up to ``jitter_s`` more, at random: it may be overtaken
    loss, doubling : share of the packets that are lost, and that arrive twice

    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    doubling: float = 0.0


@dataclass(slots=True)
class PacketCounts:
    """Packets of a line: sent, lost at random, lost by a cut, doubled, and delivered after a later one."""

    sent: int = 0
    lost: int = 0
    cut: int = 0
    doubled: int = 0
    overtaken: int = 0


class PacketLine:
    """A line with the number ``number``; its ends have the addresses 10.88.number.1 and 10.88.number.2.

    Parameters
    ----------
    upper, lower : namespaces of its two ends
    number : 1 to 254, one for each line of a test
    seed : of what happens to the packets

    """

    def __init__(self, upper: NetworkNamespace, lower: NetworkNamespace, *, number: int, seed: int) -> None:
        self.device, self.addresses = f"line{number}", (f"10.88.{number}.1", f"10.88.{number}.2")
        self.conditions, self.counts = LineConditions(), PacketCounts()
        self._random, self._is_cut = random.Random(seed), False
        self._devices = [self._create(upper, *self.addresses), self._create(lower, *self.addresses[::-1])]
        self._due: list[tuple[float, int, int, bytes]] = []
        self._newest = dict.fromkeys(self._devices, 0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._relay, daemon=True, name=self.device)
        self._thread.start()

    def cut(self) -> None:
        """Lose every packet, without any notice to either end."""
        self._is_cut = True

    def restore(self) -> None:
        """Deliver packets again."""
        self._is_cut = False

    def close(self) -> None:
        """End the line; its devices are removed."""
        self._stop.set()
        self._thread.join()
        for one in self._devices:
            os.close(one)

    def _create(self, namespace: NetworkNamespace, own: str, other: str) -> int:
        """Create a TUN device in a namespace and return its file descriptor."""
        with namespace.entered():
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", self.device.encode(), IFF_TUN | IFF_NO_PI))
        namespace.configure(f"address add {own} peer {other} dev {self.device}")
        namespace.configure(f"link set {self.device} up")
        return device

    def _relay(self) -> None:
        while not self._stop.is_set():
            wait_s = self._due[0][0] - time.monotonic() if self._due else LONGEST_WAIT_S
            for device in select.select(self._devices, [], [], min(max(wait_s, 0.0), LONGEST_WAIT_S))[0]:
                self._receive(device)
            while self._due and self._due[0][0] <= time.monotonic():
                self._deliver(*heapq.heappop(self._due)[1:])

    def _receive(self, device: int) -> None:
        (target,) = (one for one in self._devices if one != device)
        with suppress(BlockingIOError):
            while packet := os.read(device, PACKET_BYTES):
                if packet[0] >> 4 == IPV4:
                    self._send(target, packet)

    def _send(self, target: int, packet: bytes) -> None:
        conditions, counts = self.conditions, self.counts
        counts.sent += 1
        if self._is_cut:
            counts.cut += 1
        elif self._random.random() < conditions.loss:
            counts.lost += 1
        else:
            is_doubled = self._random.random() < conditions.doubling
            counts.doubled += is_doubled
            for _ in range(1 + is_doubled):
                delay_s = conditions.delay_s + self._random.random() * conditions.jitter_s
                heapq.heappush(self._due, (time.monotonic() + delay_s, counts.sent, target, packet))

    def _deliver(self, number: int, target: int, packet: bytes) -> None:
        if self._is_cut:
            self.counts.cut += 1
            return
        self.counts.overtaken += number < self._newest[target]
        self._newest[target] = max(number, self._newest[target])
        with suppress(BlockingIOError):  # a full queue loses it, as a router does
            os.write(target, packet)

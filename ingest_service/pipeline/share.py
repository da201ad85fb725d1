"""Divides the devices of a shard's areas between several processes by a hash of the device's name.

See docs/decisions/0106.
"""

from __future__ import annotations

import hashlib

from ingest_service.pipeline.errors import IngestError

DEVICE_LEVEL = 3  # of ``towntwin/v1/{area}/{device}/{kind}``
MAX_CACHED_TOPICS = 10_000


class ShareError(IngestError):
    """A share is none of those into which the devices are divided."""


class Share:
    """One of ``count`` parts of the devices, of about equal size; parts are numbered from 1.

    Examples
    --------
    >>> [Share("1/2").includes(name) for name in ("wz-01", "wz-02", "wz-03", "wz-04")]
    [True, True, True, False]
    >>> Share("2/2").names("main")
    ['main-1-of-2', 'main-2-of-2']

    """

    def __init__(self, text: str) -> None:
        number, _, count = text.partition("/")
        self.number, self.count = int(number), int(count)
        if not 1 <= self.number <= self.count:
            raise ShareError(f"share {text!r}: the first number has to be from 1 to the second")
        self._taken_topics: dict[str, bool] = {}

    @property
    def is_whole(self) -> bool:
        """Whether the devices are not divided."""
        return self.count == 1

    def name(self, shard: str) -> str:
        """Return the name of this part of a shard: of its lock, its session and its checkpoint."""
        return shard if self.is_whole else f"{shard}-{self.number}-of-{self.count}"

    def names(self, shard: str) -> list[str]:
        """Return the names of all parts of a shard."""
        return [Share(f"{number}/{self.count}").name(shard) for number in range(1, self.count + 1)]

    def includes(self, device: str) -> bool:
        """Whether a device, enrolled or not, is of this part."""
        digest = hashlib.blake2b(device.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1

    def takes(self, topic: str) -> bool:
        """Whether the messages of a topic are of this part; a topic of another form counts as a device."""
        taken = self._taken_topics.get(topic)
        if taken is None:
            levels = topic.split("/")
            taken = self.includes(levels[DEVICE_LEVEL] if len(levels) > DEVICE_LEVEL else topic)
            if len(self._taken_topics) >= MAX_CACHED_TOPICS:
                self._taken_topics.clear()
            self._taken_topics[topic] = taken
        return taken

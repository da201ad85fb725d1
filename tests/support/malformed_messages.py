"""Generates malformed MQTT messages: well-formed trees with invalid content.

`message` builds one from a source of random numbers, so that a benchmark can generate any number of them, and
`messages` is the same as a hypothesis strategy, which shrinks failing examples.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import cbor2
from hypothesis import strategies as st

from edge.wire import senml
from ingest_service.pipeline.message import Message
from ingest_service.storage.contract.models import Area, Channel, Device, Directory, Series, Site

if TYPE_CHECKING:
    import random

NOW_S = 1_790_000_000.0
AREA = "330483-d1"
DATA, STATUS = (f"towntwin/v1/{AREA}/wz-01/{kind}" for kind in ("data", "status"))

DIRECTORY = Directory(
    areas=[Area(area_id=AREA, level="town", en="A", zh="甲")],
    sites=[Site(site_id="s1", area_id=AREA, kind="river_section", en="S", zh="断面", lon=120.5, lat=30.7)],
    devices=[Device(device_id="wz-01", area_id=AREA)],
    series=[
        Series(series_id=1, site_id="s1", quantity="ph"),
        Series(series_id=2, site_id="s1", quantity="dissolved_oxygen"),
        Series(series_id=3, site_id="s1", quantity="conductivity"),
    ],
    channels=[
        Channel(device_id="wz-01", name="ph", site_id="s1", quantity="ph", series_id=1),
        Channel(device_id="wz-01", name="do", site_id="s1", quantity="dissolved_oxygen", series_id=2),
        Channel(device_id="wz-01", name="ec", site_id="s1", quantity="conductivity", series_id=3),
    ],
    version=1,
    enrolled_s={"wz-01": NOW_S - 86_400},
)

# Values for any node of a tree. None of them is random, so that findings are reproducible.
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7.2, 2**31, 2**63, 2**64, -(2**64), 10**30, 10**400, -0.0, 1e-320, 1e308,
    math.nan, math.inf, -math.inf, "", "ph", "7.2", "NaN", "\0", "\ufeff", "\ud800", "é", "µS/cm", "μS/cm",
    "℃", "pH", "_", "x_", "a b", "a" * 300, b"", b"\xff\xfe", b"x" * 64, cbor2.undefined,
    NOW_S, NOW_S * 1e3, NOW_S * 1e6, NOW_S * 1e9, NOW_S + 28_800, 946_688_400, 315_964_800, 0.5, -5,
)  # fmt: skip
TAGS = (
    0,
    1,
    2,
    3,
    4,
    5,
    21,
    25,
    28,
    29,
    30,
    32,
    35,
    36,
    37,
    100,
    256,
    258,
    260,
    261,
    1004,
    43000,
    55799,
    2**63,
)
LABELS = ("bn", "bt", "bu", "bv", "bs", "bver", "n", "u", "v", "vs", "vb", "vd", "s", "t", "ut", "x", "x_")
STATUS_LABELS = (
    "online", "agent", "time_s", "spool_depth", "evicted", "clock_offset_s", "battery_v", "signal_dbm", "x"
)  # fmt: skip
TOPICS = (
    *[DATA] * 40, *[STATUS] * 6, "", "/", "towntwin/v1/x/y/z", "\0", "\ud800/data", DATA + "/",
    DATA.replace("wz-01", "stranger"), DATA.replace("data", "event"), DATA.replace(AREA, "b"), "x" * 65_535,
)  # fmt: skip
CONTENT_TYPES = (
    *[None] * 24, senml.CONTENT_TYPE_JSON, senml.CONTENT_TYPE_CBOR, "", ";", "text/plain", "\0", "\ud800"
)  # fmt: skip
PAIRS = (
    ("epoch", "e"), ("number", "1"), ("number", "1" * 4400), ("number", "-1"), ("number", "²"),
    ("epoch", "\0"),
    ("epoch", "\ud800"), ("", ""), ("recorded", "1"), ("x" * 1000, "y" * 1000), ("epoch", "x" * 60_000),
)  # fmt: skip


def tree(source: random.Random, depth: int = 4) -> Any:
    """Return a random value: a leaf, an array, a map or a tagged value."""
    kind = source.randrange(12) if depth else 0
    if kind < 8:
        return source.choice(ODD_VALUES)
    if kind == 8:
        return [tree(source, depth - 1) for _ in range(source.randrange(4))]
    if kind == 9:
        return {source.choice(LABELS): tree(source, depth - 1) for _ in range(source.randrange(4))}
    if kind == 10:
        return cbor2.CBORTag(source.choice(TAGS), tree(source, depth - 1))
    return nested(source.randrange(2, 600))


def nested(depth: int) -> list[Any]:
    """Return arrays nested to a depth."""
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


def record(source: random.Random, labels: tuple[str, ...] = LABELS) -> dict[Any, Any]:
    """Return a record that is valid except for some of its fields."""
    good: dict[Any, Any] = {
        "n": source.choice(("ph", "do", "ec")), "v": source.uniform(0, 14),
        "t": NOW_S - source.uniform(0, 1e4)
    }  # fmt: skip
    if labels is STATUS_LABELS:
        good = {"online": True, "time_s": NOW_S}
    for _ in range(max(0, source.randrange(5) - 2)):
        good[source.choice(labels)] = tree(source, 2)
    return good


def payload(source: random.Random, *, is_status: bool) -> bytes:
    """Return the payload of a message: a tree of the expected shape, in JSON or CBOR, possibly damaged."""
    if is_status:
        shape: Any = record(source, STATUS_LABELS)
    elif source.randrange(8):
        shape = [record(source) for _ in range(source.randrange(1, 5))]
    else:
        shape = tree(source)
    made = _json(shape) if is_status or source.randrange(2) else _cbor(shape)
    return _damaged(source, made) if source.randrange(6) == 0 else made


def _json(shape: Any) -> bytes:
    return json.dumps(shape, default=str).encode("utf-8", "surrogatepass")


def _cbor(shape: Any) -> bytes:
    numbers = {
        "bs": -6, "bv": -5, "bu": -4, "bt": -3, "bn": -2, "bver": -1, "n": 0, "u": 1, "v": 2, "vs": 3,
        "vb": 4, "s": 5, "t": 6, "ut": 7, "vd": 8,
    }  # fmt: skip
    if isinstance(shape, list):
        shape = [
            {numbers.get(label, label): one for label, one in row.items()} if isinstance(row, dict) else row
            for row in shape
        ]
    try:
        return cbor2.dumps(shape)
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError):
        return cbor2.dumps(str(shape).encode("utf-8", "replace"))


def _damaged(source: random.Random, made: bytes) -> bytes:
    kind = source.randrange(4)
    at = source.randrange(len(made) + 1)
    if kind == 0:
        return made[:at]
    if kind == 1:
        return made[:at] + source.randbytes(3) + made[at:]
    if kind == 2:
        return made[:at] + source.randbytes(1) + made[at + 1 :]
    return source.randbytes(source.randrange(40))


def message(source: random.Random) -> Message:
    """Return one random message."""
    topic = source.choice(TOPICS)
    return Message(
        topic=topic,
        payload=payload(source, is_status=topic == STATUS),
        received_s=NOW_S,
        content_type=source.choice(CONTENT_TYPES),
        properties=tuple(source.choice(PAIRS) for _ in range(source.randrange(3))),
        retained=source.randrange(8) == 0,
    )


messages = st.randoms(use_true_random=False).map(message)

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from(ODD_VALUES)
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(-8, 10) | st.sampled_from(LABELS) | st.text(), inner, max_size=4)
        | st.builds(cbor2.CBORTag, st.sampled_from(TAGS), inner)
    ),
    max_leaves=20,
)

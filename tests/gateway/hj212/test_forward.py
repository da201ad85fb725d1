"""What is reported to upper platforms arrives whole and once there, in the right order and form."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from gateway.hj212.errors import StationError
from gateway.hj212.forward.sender import PlatformSender
from gateway.hj212.forward.settings import ReportedStation, UpperPlatform, read_forward_file
from gateway.hj212.forward.source import OVERLAP_S, ForwardSource
from gateway.hj212.forward.spool import ForwardSpool
from gateway.hj212.forward.uploads import MAX_CONTENT, upload_segments
from gateway.hj212.frames import FrameReader
from gateway.hj212.segment import Segment
from gateway.hj212.session import StationSession
from gateway.hj212.stations import Station
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import upper_platform
from tests.support.processes import PlatformProcess, running_processes, wait_until
from tests.support.store_samples import DIRECTORY, START_US, readings

if TYPE_CHECKING:
    from pathlib import Path

    from ingest_service.storage.contract.store import Store

PLATFORM = UpperPlatform(
    name="county", host="127.0.0.1", port=1, uploads=("2011", "2061"), history_s=4 * 3600.0
)
STATION = ReportedStation(station="A1", site="s1")
COUNTY = '[[platforms]]\nname = "a"\nhost = "h"\nport = 1\n'
NOW_S = START_US / 1e6 + 7200.0
WITHIN_S = 30.0


def store_readings(store: Store, *blocks: Any) -> None:
    store.commit(Batch(fresh=np.concatenate(blocks)))


def collected(spool: ForwardSpool) -> list[Segment]:
    found = []
    while (frame := spool.next(time.time() + 1e6, 0)) is not None:
        found.append(frame.segment)
        spool.delete(frame.number)
    return found


@pytest.fixture
def spool(tmp_path: Path) -> ForwardSpool:
    return ForwardSpool(tmp_path / "county.spool", 1000)


def test_readings_and_hourly_means_become_uploads_in_the_units_of_their_factors(spool: ForwardSpool) -> None:
    store = MemoryStore()
    store.enrol(DIRECTORY)
    store_readings(
        store,
        readings(1, range(14)),
        readings(2, range(2), quality=4),
        readings(2, range(2, 3), quality=4, rules=1 << 14),
    )
    source = ForwardSource(store, spool, PLATFORM, [STATION])
    assert source.collect(NOW_S) == 14 + 2
    segments = collected(spool)
    assert segments[0].content == (
        "DataTime=20260921221320;w01001-Rtd=0.25,w01001-Flag=N;w01003-Rtd=0.25,w01003-Flag=D"
    )
    assert segments[2].content.endswith("w01003-Rtd=2.25,w01003-Flag=M")
    hours = [one.content for one in segments if one.command == "2061"]
    assert len(hours) == 2
    assert hours[0].startswith("DataTime=20260921220000;w01001-Min=0.25,w01001-Avg=4.75,w01001-Max=9.25")
    assert source.collect(NOW_S) == 0


def test_a_reading_that_is_committed_behind_newer_ones_is_reported_once(spool: ForwardSpool) -> None:
    store = MemoryStore()
    store.enrol(DIRECTORY)
    source = ForwardSource(store, spool, PLATFORM, [STATION])
    newer, older = readings(1, range(3, 4)), readings(1, range(1, 2))
    assert (newer["received_us"] - older["received_us"]) / 1e6 < OVERLAP_S
    for block, count in ((newer, 1), (older, 1), (newer, 0)):
        store_readings(store, block)
        assert source.collect(NOW_S - 7200) == count


def test_a_long_upload_is_split_and_numbered() -> None:
    items = [f"w{code:05d}-Rtd=1.25,w{code:05d}-Flag=N" for code in range(80)]
    segments = upload_segments(PLATFORM, STATION, "2011", 0, items)
    assert [(one.packet, one.packets, one.flag) for one in segments] == [(n, 3, 7) for n in (1, 2, 3)]
    assert all(len(one.content) <= MAX_CONTENT for one in segments)
    assert [item for one in segments for item in one.content.split(";")[1:]] == items


def segment(number: int) -> Segment:
    return Segment(
        system="21",
        command="2011",
        station="A1",
        flag=9,
        content=f"DataTime=20260101080000;w01001-Rtd={number}",
    )


def run_sender(spool: ForwardSpool, platform: UpperPlatform, until: Any) -> None:
    async def run() -> None:
        sending = asyncio.create_task(PlatformSender(platform, spool).run())
        ends_s = time.monotonic() + WITHIN_S
        while not until() and time.monotonic() < ends_s:  # noqa: ASYNC110 - the state of a file and a server
            await asyncio.sleep(0.02)
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending

    asyncio.run(run())
    assert until()


def test_live_frames_go_before_back_fill_which_is_marked_as_sent_again(spool: ForwardSpool) -> None:
    now_s = time.time()
    spool.put([segment(number) for number in range(3)], {}, now_s=now_s - 3600)
    spool.put([segment(9)], {}, now_s=now_s)
    with upper_platform.UpperPlatformServer() as server:
        platform = msgspec.structs.replace(PLATFORM, port=server.port, edition=2025)
        run_sender(spool, platform, lambda: spool.waiting == 0)
        assert [item for _, _, item in server.values("2011")] == [f"w01001-Rtd={n}" for n in (9, 0, 1, 2)]
        assert len(server.resent) == 3
        assert next(iter(server.uploads)) not in server.resent
        assert server.problems == []


def test_unanswered_refused_and_cut_off_frames_are_sent_again_under_their_number(spool: ForwardSpool) -> None:
    spool.put([segment(number) for number in range(5)], {})
    with upper_platform.UpperPlatformServer() as server:
        server.unanswered, server.dropped = 2, 1
        platform = msgspec.structs.replace(
            PLATFORM, port=server.port, edition=2025, over_time_s=0.2, re_count=2, key="30" * 16
        )
        plain = msgspec.structs.replace(platform, key=None)
        run_sender(spool, plain, lambda: spool.waiting == 0)
        assert len(server.uploads) == 5
        assert server.repeated == 3
        assert server.resent
        assert server.problems == []


def test_our_own_server_takes_encrypted_frames_of_the_sender(spool: ForwardSpool) -> None:
    spool.put([segment(7)], {})
    frame = spool.next(time.time(), 60)
    assert frame is not None
    sender = PlatformSender(msgspec.structs.replace(PLATFORM, edition=2025, key="30" * 16), spool)
    raw = sender._encoded(frame.segment, sender._request(frame.number), is_resent=True)
    assert b"RF=1;CP=&&{0x" in raw
    session = StationSession({"A1": Station(station="A1", area="a", device="d", key="30" * 16)})
    (found,) = FrameReader().feed(raw)
    (entry,) = session.receive(found).entries
    assert b'"v":7.0' in entry.payload


def test_the_oldest_frames_of_a_full_spool_are_evicted_and_counted(tmp_path: Path) -> None:
    spool = ForwardSpool(tmp_path / "s", 100)
    spool.put([segment(number) for number in range(130)], {})
    assert (spool.waiting, spool.evicted) == (100, 30)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("platforms = []\nstations = []", "1 to 8"),
        ('stations = []\n[[platforms]]\nname = "a"\nhost = "h"\nport = 1\nkey = "00"', "32 hexadecimal"),
        (f'{COUNTY}[[stations]]\nstation = "A"\nsite = "s"\nplatforms = ["b"]', "not in the file"),
    ],
)  # fmt: skip
def test_a_file_that_can_t_be_used_is_refused_with_a_sentence(
    tmp_path: Path, text: str, sentence: str
) -> None:
    path = tmp_path / "platforms.toml"
    path.write_text(text)
    with pytest.raises(StationError, match=sentence):
        read_forward_file(path)


def test_kills_lose_and_double_nothing_at_two_platforms(timescale_dsn: str, tmp_path: Path) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    try:
        store.enrol(DIRECTORY)
        store_readings(store, readings(1, range(150)))
        with upper_platform.UpperPlatformServer() as near, upper_platform.UpperPlatformServer() as far:
            path = tmp_path / "platforms.toml"
            path.write_text(
                "".join(
                    f'[[platforms]]\nname = "{name}"\nhost = "127.0.0.1"\nport = {one.port}\nedition = 2025\n'
                    'uploads = ["2011"]\nhistory_s = 3e7\nover_time_s = 0.3\n'
                    for name, one in (("near", near), ("far", far))
                )
                + '[[stations]]\nstation = "A1"\nsite = "s1"\n'
            )
            process = PlatformProcess(
                "hj212",
                "forward",
                *("--platforms", str(path), "--forward-spools", str(tmp_path / "spools")),
                log=tmp_path / "forward.log",
                TOWNTWIN_DSN=timescale_dsn,
            )
            with running_processes(process):
                for kill in range(4):
                    before = len(near.uploads) + len(far.uploads)
                    far.dropped = 1
                    wait_until(
                        lambda before=before: len(near.uploads) + len(far.uploads) > before + 20,  # type: ignore[misc]
                        within_s=WITHIN_S,
                        what="some frames arrive",
                    )
                    process.kill()
                    store_readings(store, readings(1, range(150 + 10 * kill, 160 + 10 * kill)))
                    process.start()
                wait_until(
                    lambda: len(near.uploads) >= 190 and len(far.uploads) >= 190,
                    within_s=WITHIN_S,
                    what="everything arrives",
                )
                assert process.stop() == 0
            for one in (near, far):
                assert one.problems == []
                values = sorted(float(item.split(",")[0].split("=")[1]) for _, _, item in one.values("2011"))
                assert values == [tick + 0.25 for tick in range(190)]
    finally:
        store.close()

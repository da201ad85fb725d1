"""The health strip as data: database, broker, ingest, service, gateway and devices, and what to do, in order.

The order is that of the dependence: while the database takes no writes, no process can report, so that their
states are not known; while the broker is away, devices can't be heard. The first fault is the one to mend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ingest_service.storage import process_words
from ingest_service.storage.process_words import Sentence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.console.disk import Disk
    from gateway.console.snapshot import Snapshot
    from ingest_service.storage.processes import Process, State

Shown = Literal["alive", "behind", "restarting", "stuck", "absent", "unknown"]

LOW_DISK = 0.1  # of the disk: from there on PostgreSQL needs somebody before the weekend is over
GIGABYTE = 1e9
BROKER_FAULTS = ("broker", "refused", "subscribing")

DATABASE = Sentence("database", "数据库")
BROKER = Sentence("broker", "消息代理")
DEVICES = Sentence("devices", "设备")
UNKNOWN = Sentence("not known", "状态未知")
AWAY = Sentence("no answer for {} s", "已{}秒无应答")
AWAY_TO_DO = Sentence(
    "the database does not answer: check that it runs, then its disk, then the network to it."
    " Devices keep their readings; this page shows the last that was known",
    "数据库无应答：请依次检查数据库是否运行、磁盘是否已满、网络是否通畅；读数保留在设备中，页面显示最后已知状态",
)
READ_ONLY = Sentence("takes no writes", "无法写入")
READ_ONLY_TO_DO = Sentence(
    "the database answers and takes no writes: free its disk if that is full, then end the read-only mode"
    " (default_transaction_read_only, or a standby that was not promoted). Devices keep their readings",
    "数据库可读但无法写入：若磁盘已满请先清理，再解除只读模式（default_transaction_read_only，或备库尚未提升）；"
    "读数在消息代理与设备中等待",
)
WRITABLE = Sentence("takes writes", "可写入")
LOW_TO_DO = Sentence(
    "the database's disk is nearly full ({free} GB of {whole} GB free): free some, or enlarge it",
    "数据库磁盘将满（剩余{free} GB，共{whole} GB）：请清理或扩容",
)
USED = Sentence("{used} GB used", "已用{used} GB")
FREE = Sentence(", {free} GB free", "，剩余{free} GB")
CONNECTED = Sentence("connected", "已连接")
NOT_CONNECTED = Sentence("not reached by ingest", "接收服务无法连接")
REPORTING = Sentence("{on} of {all} report", "{all}台中{on}台在线")
ALL_SILENT_TO_DO = Sentence(
    "all devices are silent at once: look at the broker and at ingest first, not at each device",
    "全部设备同时静默：请先检查消息代理与接收服务，不必逐台检查设备",
)
SOME_SILENT_TO_DO = Sentence(
    "silent devices: {n}. The list of what is wrong names them; check their power and link",
    "{n}台设备静默：见当前异常列表，请检查其供电与通信",
)


class Check(NamedTuple):
    """A part of the platform: how it is, in words, and what to do where it is not well."""

    part: str
    state: Shown
    text: Sentence
    to_do: Sentence | None = None


def checks(snapshot: Snapshot | None, *, now_s: float) -> list[Check]:
    """Every part, in the order in which to look; ``snapshot`` is None where there was none yet."""
    if snapshot is None or snapshot.away:
        return _without_database(snapshot, now_s)
    if not snapshot.writable:
        return [
            Check("database", "stuck", _joined(DATABASE, READ_ONLY), READ_ONLY_TO_DO),
            *_unknown(snapshot.processes),
        ]
    return [
        _database(snapshot.disk),
        _broker(snapshot.processes),
        *(_process(one) for one in snapshot.processes),
        Check("devices", "unknown", _joined(DEVICES, UNKNOWN))
        if is_broker_unreachable(snapshot.processes)
        else _devices(snapshot),
    ]


def is_broker_unreachable(processes: Sequence[Process]) -> bool:
    """Whether ingest, the platform's one client of the broker, is kept from its work by the broker."""
    return any(one.why in BROKER_FAULTS for one in processes if one.kind == "ingest" and not one.works)


def to_do(found: Sequence[Check], problems: Sequence[Sentence]) -> list[Sentence]:
    """What to do, the first thing first; each once.

    Parameters
    ----------
    problems : why readings are not stored and judged, beyond what the parts show

    """
    own = [one.to_do for one in found if one.to_do is not None]
    if found and found[0].part == "database" and found[0].state in {"stuck", "absent"}:
        return own[:1]  # until it is mended nothing else is known
    devices = [one.to_do for one in found if one.part == "devices" and one.to_do is not None]
    before = [one for one in own if one not in devices]
    return list(dict.fromkeys([*before, *problems, *devices]))


def _without_database(snapshot: Snapshot | None, now_s: float) -> list[Check]:
    age_s = 0.0 if snapshot is None else now_s - snapshot.taken_s
    text = Sentence(AWAY.en.format(f"{age_s:.0f}"), AWAY.zh.format(f"{age_s:.0f}"))
    if snapshot is None:
        text = UNKNOWN
    return [
        Check("database", "absent", _joined(DATABASE, text), AWAY_TO_DO),
        *_unknown([] if snapshot is None else snapshot.processes),
    ]


def _unknown(processes: Sequence[Process]) -> Iterator[Check]:
    yield Check("broker", "unknown", _joined(BROKER, UNKNOWN))
    for kind in dict.fromkeys(one.kind for one in processes):
        yield Check(kind, "unknown", _joined(process_words.KINDS.get(kind, Sentence(kind, kind)), UNKNOWN))
    yield Check("devices", "unknown", _joined(DEVICES, UNKNOWN))


def _database(disk: Disk | None) -> Check:
    en, zh, state, mend = WRITABLE.en, WRITABLE.zh, "alive", None
    if disk is not None:
        figures = {"used": f"{disk.used / GIGABYTE:.1f}"}
        en, zh = f"{en}, {USED.en.format(**figures)}", f"{zh}，{USED.zh.format(**figures)}"
        if disk.free is not None and disk.whole:
            figures = {"free": f"{disk.free / GIGABYTE:.1f}", "whole": f"{disk.whole / GIGABYTE:.1f}"}
            en, zh = en + FREE.en.format(**figures), zh + FREE.zh.format(**figures)
            if disk.free < LOW_DISK * disk.whole:
                state = "behind"
                mend = Sentence(LOW_TO_DO.en.format(**figures), LOW_TO_DO.zh.format(**figures))
    return Check(
        "database", "behind" if state == "behind" else "alive", _joined(DATABASE, Sentence(en, zh)), mend
    )


def _broker(processes: Sequence[Process]) -> Check:
    """The broker as ingest sees it: nothing else of the platform is connected to it."""
    ingest = [one for one in processes if one.kind == "ingest"]
    if is_broker_unreachable(processes):
        return Check("broker", "stuck", _joined(BROKER, NOT_CONNECTED))  # what to do, ingest's sentence has
    if any(one.works and one.role == "owner" for one in ingest):
        return Check("broker", "alive", _joined(BROKER, CONNECTED))
    return Check("broker", "unknown", _joined(BROKER, UNKNOWN))


def _process(one: Process) -> Check:
    name, state = process_words.named(one), process_words.STATES[one.state]
    standby = process_words.STANDBY if one.role == "standby" else process_words.EMPTY
    text = Sentence(f"{name.en}{standby.en} {state.en}", f"{name.zh}{standby.zh} {state.zh}")
    return Check(
        one.kind, _shown(one.state), text, None if one.state == "alive" else process_words.sentence(one)
    )


def _shown(state: State) -> Shown:
    return state


def _devices(snapshot: Snapshot) -> Check:
    whole = len(snapshot.known.directory.devices)
    silent = len({one.device_id for one in snapshot.anomalies if one.detector == "silence" and one.device_id})
    together = any(one.detector == "silence" and one.device_id is None for one in snapshot.anomalies)
    figures = {"on": 0 if together else max(0, whole - silent), "all": whole}
    text = _joined(DEVICES, Sentence(REPORTING.en.format(**figures), REPORTING.zh.format(**figures)))
    if together:
        return Check("devices", "stuck", text, ALL_SILENT_TO_DO)
    if silent:
        mend = Sentence(SOME_SILENT_TO_DO.en.format(n=silent), SOME_SILENT_TO_DO.zh.format(n=silent))
        return Check("devices", "behind", text, mend)
    return Check("devices", "alive", text)


def _joined(name: Sentence, text: Sentence) -> Sentence:
    return Sentence(f"{name.en} {text.en}", f"{name.zh} {text.zh}")

"""Messages on process states, with their cause and the remedy, in English and Chinese."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ingest_service.storage.processes import Process


class Sentence(msgspec.Struct, frozen=True):
    """A text in English and Chinese."""

    en: str
    zh: str


KINDS = {
    "ingest": Sentence("ingest", "接收服务"),
    "service": Sentence("service", "分析服务"),
    "gateway": Sentence("gateway", "网关"),
}
STATES = {
    "alive": Sentence("alive", "正常"),
    "stuck": Sentence("stuck", "停滞"),
    "behind": Sentence("behind", "滞后"),
    "absent": Sentence("absent", "缺失"),
    "restarting": Sentence("restarting", "重启中"),
}
WHY = {
    "": Sentence("it does its work", "工作正常"),
    "ended": Sentence(
        "it ended a moment ago without being asked to: if nothing starts it again, it is soon absent",
        "刚刚意外退出；若无人重新启动，数秒后即为缺失",
    ),
    "gone": Sentence(
        "it ended without being asked to and was not started again: see its log, then start it",
        "意外退出且未重新启动：请查看其日志后启动",
    ),
    "never": Sentence(
        "no such process reports to this database: start one", "没有此类进程向本数据库报告：请启动"
    ),
    "silent": Sentence(
        "it is connected to the database and does not report: it is stopped, frozen, or cut off; restart it",
        "与数据库保持连接但不再报告：进程被挂起、冻结或网络中断；请重新启动",
    ),
    "starting": Sentence("it is starting and does no work yet", "正在启动，尚未开始工作"),
    "again": Sentence("it was started again a moment ago after an unexpected end", "意外退出后刚刚重新启动"),
    "still": Sentence(
        "it reports, but its main loop does not move on: see its log, then restart it",
        "仍在报告，但主循环不再推进：请查看其日志后重新启动",
    ),
    "backlog": Sentence(
        "its oldest work waits for too long: see whether the database or the machine is overloaded",
        "最早的任务等待过久：请检查数据库与主机负载",
    ),
    "broker": Sentence(
        "the broker does not answer: start it, or check TOWNTWIN_BROKER and the network",
        "消息代理无应答：请启动消息代理，或检查 TOWNTWIN_BROKER 与网络",
    ),
    "refused": Sentence(
        "the broker refuses the connection or the subscription: the log of ingest says why and what to do",
        "消息代理拒绝连接或订阅：原因与处理办法见接收服务日志",
    ),
    "subscribing": Sentence(
        "it is connected to the broker and not subscribed yet", "已连接消息代理，尚未完成订阅"
    ),
    "receiver": Sentence(
        "the thread that receives from the broker has ended: restart ingest, and report it with its log",
        "接收消息的线程已退出：请重新启动接收服务，并附日志报告缺陷",
    ),
    "database": Sentence(
        "the database takes no writes (away, read-only, or full): devices keep their readings",
        "数据库无法写入（中断、只读或磁盘已满）：不再应答，读数保留在设备中",
    ),
    "judge": Sentence(
        "judging fails: readings are stored without being judged; see the traceback in the log and report it",
        "判别失败：读数已入库但未判别；请查看日志中的错误并报告",
    ),
    "task": Sentence(
        "a task fails and is tried again: see the traceback in the log and report it",
        "有任务失败并将重试：请查看日志中的错误并报告",
    ),
}
NOT_WRITABLE = Sentence(
    "the database answers and takes no writes (read-only, or its disk is full): devices keep their readings",
    "数据库可读但无法写入（只读或磁盘已满）：读数在消息代理与设备中等待",
)
STANDBY = Sentence(" (standby)", "（备用）")
EMPTY = Sentence("", "")
NO_OWNER = Sentence(
    "ingest: processes stand by and none owns its shard yet: the takeover is under way",
    "接收服务：仅有备用进程，分片尚无主进程，正在接管",
)


def named(process: Process) -> Sentence:
    """Return the label of a process: kind and instance."""
    kind = KINDS.get(process.kind, Sentence(process.kind, process.kind))
    tail = f" {process.instance}" if process.instance else ""
    return Sentence(kind.en + tail, kind.zh + tail)


def sentence(process: Process) -> Sentence:
    """Describe a process: its state, the cause and the remedy."""
    name, state = named(process), STATES[process.state]
    why = WHY.get(process.why, WHY["task"])
    standby = STANDBY if process.role == "standby" else EMPTY
    return Sentence(
        f"{name.en}{standby.en} is {state.en}: {why.en}", f"{name.zh}{standby.zh} {state.zh}：{why.zh}"
    )


def no_shard(areas: list[str]) -> Sentence:
    """Message that no ingest process ingests these areas."""
    shown = ", ".join(areas[:5]) + (" …" if len(areas) > 5 else "")
    return Sentence(
        f"ingest: no process takes the readings of {shown or 'some areas'}:"
        " start one with --areas, or give + to one",
        f"接收服务：没有进程接收 {shown or '部分区域'} 的读数：请用 --areas 启动一个，或将 + 交给其中一个",
    )

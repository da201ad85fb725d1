"""Messages on process states, with their cause and the remedy, in English and Chinese."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ingest_service.storage.health.processes import ProcessInfo


class BilingualText(msgspec.Struct, frozen=True):
    """A text in English and Chinese."""

    en: str
    zh: str


KIND_LABELS = {
    "ingest": BilingualText("ingest", "接收服务"),
    "service": BilingualText("service", "分析服务"),
    "gateway": BilingualText("gateway", "网关"),
    "access": BilingualText("access", "接入服务"),
    "hj212": BilingualText("HJ 212 server", "环保协议接收服务"),
    "federation": BilingualText("federation", "上下级联动"),
}
STATE_LABELS = {
    "alive": BilingualText("alive", "正常"),
    "stuck": BilingualText("stuck", "停滞"),
    "behind": BilingualText("behind", "滞后"),
    "absent": BilingualText("absent", "缺失"),
    "restarting": BilingualText("restarting", "重启中"),
    "unknown": BilingualText("not known yet", "状态未知"),
}
REASON_TEXTS = {
    "": BilingualText("it does its work", "工作正常"),
    "ended": BilingualText(
        "it ended a moment ago without being asked to: if nothing starts it again, it is soon absent",
        "刚刚意外退出；若无人重新启动，数秒后即为缺失",
    ),
    "unreported": BilingualText(
        "the database was away until a moment ago, and the process has not reported since: wait seconds",
        "数据库刚刚恢复，该进程尚未再次报告：请稍候数秒",
    ),
    "reconnecting": BilingualText(
        "its connection to the database ended a moment ago: it connects again, or it has ended;"
        " wait a few seconds",
        "与数据库的连接刚刚断开：正在重新连接或已退出，请稍候数秒",
    ),
    "gone": BilingualText(
        "it ended without being asked to and was not started again: see its log, then start it",
        "意外退出且未重新启动：请查看其日志后启动",
    ),
    "never": BilingualText(
        "no such process reports to this database: start one", "没有此类进程向本数据库报告：请启动"
    ),
    "silent": BilingualText(
        "it is connected to the database and does not report: it is stopped, frozen, or cut off; restart it",
        "与数据库保持连接但不再报告：进程被挂起、冻结或网络中断；请重新启动",
    ),
    "starting": BilingualText("it is starting and does no work yet", "正在启动，尚未开始工作"),
    "compiling": BilingualText(
        "its judge is being compiled, once after an installation or an update: wait up to a minute;"
        " until then readings wait at the broker",
        "正在编译判别程序（安装或更新后仅一次）：请等待约一分钟；其间读数保留在消息代理中",
    ),
    "again": BilingualText(
        "it was started again a moment ago after an unexpected end", "意外退出后刚刚重新启动"
    ),
    "still": BilingualText(
        "it reports, but its main loop does not move on: see its log, then restart it",
        "仍在报告，但主循环不再推进：请查看其日志后重新启动",
    ),
    "backlog": BilingualText(
        "its oldest work waits for too long: see whether the database or the machine is overloaded",
        "最早的任务等待过久：请检查数据库与主机负载",
    ),
    "broker": BilingualText(
        "the broker does not answer: start it, or check TOWNTWIN_BROKER and the network",
        "消息代理无应答：请启动消息代理，或检查 TOWNTWIN_BROKER 与网络",
    ),
    "county": BilingualText(
        "the county's gateway does not take what this town forwards: the log of the forwarder has the reason;"
        " check county_url, the key and the network",
        "县级平台的网关未接收本镇上报的数据：原因见上报进程日志；请检查上级地址、密钥与网络",
    ),
    "administration": BilingualText(
        "the broker does not let its users be changed: start it, or check TOWNTWIN_ACCESS_ADMIN; decisions on"
        " devices wait",
        "无法管理消息代理的用户：请启动消息代理，或检查 TOWNTWIN_ACCESS_ADMIN；设备的审批结果等待下发",
    ),
    "refused": BilingualText(
        "the broker refuses the connection or the subscription: the log of ingest says why and what to do",
        "消息代理拒绝连接或订阅：原因与处理办法见接收服务日志",
    ),
    "subscribing": BilingualText(
        "it is connected to the broker and not subscribed yet", "已连接消息代理，尚未完成订阅"
    ),
    "receiver": BilingualText(
        "the thread that receives from the broker has ended: restart ingest, and report it with its log",
        "接收消息的线程已退出：请重新启动接收服务，并附日志报告缺陷",
    ),
    "database": BilingualText(
        "the database took no write at the last attempt (away, read-only, or full), the next follows within"
        " seconds: devices keep their readings",
        "上次写入数据库未成功（中断、只读或磁盘已满），数秒内将重试：读数保留在设备中",
    ),
    "disk": BilingualText(
        "the disk of the database is almost full, so no reading is taken: free space or enlarge it;"
        " devices keep their readings",
        "数据库所在磁盘即将写满，已暂停接收读数：请清理或扩容；读数保留在设备中",
    ),
    "judge": BilingualText(
        "judging fails: readings are stored without being judged; see the traceback in the log and report it",
        "判别失败：读数已入库但未判别；请查看日志中的错误并报告",
    ),
    "fenced": BilingualText(
        "another machine forwards for this town: stop one of the two, then restart"
        " the one that shall forward",
        "另一台设备正在为本镇上报：请停用其中一台，再重新启动应当上报的一台",
    ),
    "forwarder_clock": BilingualText(
        "the clock of the town's machine was far ahead as the forwarder started: set it, then"
        " restart the forwarder",
        "上报进程启动时本机时钟远超前：请校正时钟，再重新启动上报进程",
    ),
    "federation_circle": BilingualText(
        "what this platform forwards comes back to the platform that it is from: let one of them forward an"
        " area without what it receives from the other, or end its forwarding, then restart it",
        "上报内容又回到其来源平台：请缩小其中一方的上报区域或停止其上报，再重新启动上报进程",
    ),
    "task": BilingualText(
        "a task fails and is tried again: see the traceback in the log and report it",
        "有任务失败并将重试：请查看日志中的错误并报告",
    ),
}
NOT_WRITABLE_TEXT = BilingualText(
    "the database answers and takes no writes (read-only, or its disk is full): devices keep their readings",
    "数据库可读但无法写入（只读或磁盘已满）：读数在消息代理与设备中等待",
)
DATABASE_AWAY_TEXT = BilingualText(
    "the database does not answer: check that it runs, then its disk, then the network to it;"
    " devices keep their readings",
    "数据库无应答：请依次检查数据库是否运行、磁盘是否已满、网络是否通畅；读数保留在设备中",
)
STANDBY_SUFFIX = BilingualText(" (standby)", "（备用）")
EMPTY_TEXT = BilingualText("", "")
NO_OWNER_TEXT = BilingualText(
    "ingest: processes stand by and none owns its shard yet: the takeover is under way",
    "接收服务：仅有备用进程，分片尚无主进程，正在接管",
)


def process_label(process: ProcessInfo) -> BilingualText:
    """Return the label of a process: kind and instance."""
    kind = KIND_LABELS.get(process.kind, BilingualText(process.kind, process.kind))
    instance_suffix = f" {process.instance}" if process.instance else ""
    return BilingualText(kind.en + instance_suffix, kind.zh + instance_suffix)


def process_message(process: ProcessInfo) -> BilingualText:
    """Describe a process: its state, the cause and the remedy."""
    name, state = process_label(process), STATE_LABELS[process.state]
    why = REASON_TEXTS.get(process.why, REASON_TEXTS["task"])
    standby = STANDBY_SUFFIX if process.role == "standby" else EMPTY_TEXT
    return BilingualText(
        f"{name.en}{standby.en} is {state.en}: {why.en}", f"{name.zh}{standby.zh} {state.zh}：{why.zh}"
    )


def missing_shard_message(areas: list[str]) -> BilingualText:
    """Message that no ingest process ingests these areas."""
    shown = ", ".join(areas[:5]) + (" …" if len(areas) > 5 else "")
    return BilingualText(
        f"ingest: no process takes the readings of {shown or 'some areas'}:"
        " start one with --areas, or give + to one",
        f"接收服务：没有进程接收 {shown or '部分区域'} 的读数：请用 --areas 启动一个，或将 + 交给其中一个",
    )

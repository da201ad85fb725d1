"""Texts of the pages on which duty, notification and enrolment are edited, in English and Chinese."""

from __future__ import annotations

FORM_TRANSLATIONS: dict[str, tuple[str, str]] = {
    "save": ("save", "保存"),
    "saved": ("saved", "已保存"),
    "cancel": ("cancel", "取消"),
    "enabled": ("enabled", "启用"),
    "disabled": ("disabled", "已停用"),
    "note": ("note", "备注"),
    "from": ("from", "开始时间"),
    "duty": ("duty", "值班"),
    "shift": ("shift", "交接班"),
    "handover_notes": ("hand-over notes", "交接班记录"),
    "handover_text": ("what the next shift needs", "交接内容"),
    "handover_incidents": ("numbers of incidents", "相关事件编号"),
    "incident_number": ("incident {}", "事件{}"),
    "add_note": ("add the note", "添加记录"),
    "no_notes": ("no notes", "暂无记录"),
    "alarm_performance": ("alarm performance of the last {} days", "最近{}天的报警绩效"),
    "operators_on_duty": ("operators on duty at a time", "同时值班人数"),
    "compute_again": ("compute again", "重新计算"),
    "figure": ("figure", "指标"),
    "figure_value": ("value", "数值"),
    "figure_target": ("target", "目标"),
    "per_operator_day": ("alarms per operator and day", "人均日报警数"),
    "per_operator_hour": ("alarms per operator and hour", "人均每小时报警数"),
    "peak_10min": ("most per operator in 10 min", "10分钟内人均最多报警数"),
    "periods_above_10": ("share of 10-min periods above 10", "报警超过10条的10分钟时段占比"),
    "flood_share": ("share of the time in floods", "报警泛滥时间占比"),
    "chattering_alarms": ("chattering alarms", "反复报警数"),
    "stale_alarms": ("unacknowledged for a day", "超过一天未确认数"),
    "standing_alarms": ("active for more than a day", "持续超过一天数"),
    "top_share": ("share of the top ten", "前十位占比"),
    "priority_share": ("share of priority {}", "{}级占比"),
    "time_to_acknowledge": ("time to acknowledge: median / 95 %", "确认用时：中位数／95%分位数"),
    "time_to_close": ("time to close: median / 95 %", "结案用时：中位数／95%分位数"),
    "top_alarms": ("most frequent alarms", "最频繁的报警"),
    "suppressed_alarms": ("suppressed in the last {} h", "最近{}小时内被抑制的报警"),
    "suppressed_about": (
        "Anomalies that sounded no alarm, each with the reason; the newest {}.",
        "未发出报警的异常及其原因，最多列出最新的{}条。",
    ),
    "no_suppressed": ("none", "无"),
    "outbox": ("newest messages", "最新消息"),
    "no_messages": ("no messages", "暂无消息"),
    "channel_of_message": ("channel", "渠道"),
    "receiver": ("to", "接收人"),
    "message": ("message", "消息"),
    "the_group": ("the group", "群组"),
    "notification_waiting": ("waits", "待发送"),
    "notification_sent": ("sent", "已发送"),
    "notification_failed": ("failed", "发送失败"),
    "notification_suppressed": ("not sent", "未发送"),
    "identifier": ("id", "编号"),
    "name_en": ("name in English", "英文名称"),
    "name_zh": ("name in Chinese", "中文名称"),
    "new_team": ("new team", "新建队伍"),
    "new_roster": ("new roster", "新建值班表"),
    "new_cell": ("new grid cell", "新建网格"),
    "new_channel": ("new channel", "新建通知渠道"),
    "coverage": ("responsible for", "责任范围"),
    "cell": ("grid cell", "网格"),
    "cells": ("grid cells", "网格"),
    "all_cells": ("all cells of the area", "区域内全部网格"),
    "no_cells": ("no grid cells are defined", "尚未设置网格"),
    "any_kind": ("any kind", "全部类型"),
    "incident_kind_water": ("water", "水务"),
    "incident_kind_traffic": ("traffic", "交通"),
    "incident_kind_device": ("devices", "设备"),
    "incident_kind_platform": ("platform", "平台"),
    "rank": ("called as", "呼叫顺序"),
    "team_role_member": ("member", "队员"),
    "team_role_leader": ("leader", "队长"),
    "team_role_supervisor": ("supervisor", "主管"),
    "principal": ("signs in as", "登录身份"),
    "principal_hint": (
        (
            "“Signs in as” links a person to a key or a session: with it the person sets his own"
            " preferences of notification. A key that is created for a member is linked by itself, and so is"
            " somebody of the OpenID provider with the member's verified e-mail address."
        ),
        "“登录身份”将人员与密钥或登录会话关联，关联后本人可设置通知偏好。为成员新建的密钥会自动关联；统一身份登录者的已验证邮箱与成员邮箱一致时也会自动关联。",
    ),
    "message_language": ("language of messages", "消息语言"),
    "group_channels": ("channels of the group", "群组通知渠道"),
    "more_rows_hint": (
        "Empty rows are left out; there are new ones after saving.",
        "空行不保存，保存后会出现新的空行。",
    ),
    "rotations": ("rotations: the first that applies decides", "轮班：以第一条适用的为准"),
    "members_in_order": ("members in order (ids)", "成员编号（按轮班顺序）"),
    "starts": ("first shift begins", "首班开始"),
    "shift_hours": ("shift [h]", "每班时长（小时）"),
    "days": ("days", "日期"),
    "days_all": ("every day", "每天"),
    "days_working": ("working days", "工作日"),
    "days_rest": ("days off", "休息日"),
    "rotation_hint": (
        (
            "Give the ids of the members, separated by commas; the first one has the first shift."
            " From and until limit the duty to a part of the day."
        ),
        "按顺序填写成员编号，以逗号分隔，第一位值首班。填写起止时刻后仅在该时段值班。",
    ),
    "add_override": ("let somebody else take it", "安排替班"),
    "as_rotation": ("as in the rotation", "恢复轮班"),
    "setting": ("place", "地点类型"),
    "setting_town": ("town", "镇区"),
    "setting_village": ("village", "村庄"),
    "polygon": ("polygon (GeoJSON, WGS 84)", "多边形边界"),
    "polygon_hint": (
        (
            "A Polygon or MultiPolygon with longitude before latitude. Or draw it on the map: a click"
            " for each corner."
        ),
        "采用经纬度坐标，经度在前；也可在地图上绘制，每次点击添加一个顶点。",
    ),
    "draw": ("draw on the map", "在地图上绘制"),
    "draw_end": ("finish drawing", "完成绘制"),
    "geojson_file": ("file of GeoJSON", "边界文件"),
    "upload_cells": ("upload cells", "上传网格"),
    "upload_hint": (
        (
            "A FeatureCollection whose features have cell_id, area_id, en, zh and setting. Cells with"
            " the same id are replaced, others stay."
        ),
        "文件中每个要素须含编号、区域、中英文名称和地点类型；编号相同的网格将被替换，其余保持不变。",
    ),
    "url": ("address without a secret (webhooks)", "不含密钥的地址（网络回调）"),
    "url_secret": ("name of the secret with the address", "地址密钥的名称"),
    "sign_secret": ("name of the signing secret", "签名密钥的名称"),
    "secret_hint": (
        (
            "Robots take the name of a file that the service reads, never the secret itself. E-mail"
            " has no address here: each member has one."
        ),
        "机器人填写服务端密钥文件的名称，不填写密钥本身。电子邮件无需地址，使用成员各自的邮箱。",
    ),
    "preferences": ("my notifications", "我的通知"),
    "own_way": ("my own choice instead of the team's channels", "使用本人设置，不随队伍渠道"),
    "quiet_from": ("quiet from", "免打扰开始"),
    "quiet_to": ("quiet until", "免打扰结束"),
    "quiet_time": ("quiet time", "免打扰时段"),
    "preferences_hint": (
        (
            "An own choice without a channel switches notifications of this priority off. What falls"
            " into the quiet time is sent afterwards."
        ),
        "选择本人设置但不选渠道，则不接收该级别的通知。免打扰时段内的通知将在结束后发送。",
    ),
    "no_member": (
        (
            "No team has you as a member, so there is nothing to set. An engineer enters this at your"
            " name in a team:"
        ),
        "您尚未加入任何队伍，暂无可设置的内容。请工程师在队伍中您的姓名处填写登录身份：",
    ),
    "for_member": ("for the member", "所属成员"),
    "nobody": ("nobody", "无"),
    "enrolment": ("enrolment", "设备登记"),
    "enrolment_code_revoked": ("the code is revoked", "登记码已吊销"),
    "enrolment_confirm": ("the device is confirmed", "设备已确认"),
    "enrolment_reject": ("the device is rejected", "设备已拒绝"),
    "enrolment_revoke": ("the device is revoked", "设备已吊销"),
    "codes": ("codes for technicians", "现场登记码"),
    "no_codes": ("no codes", "无登记码"),
    "create_code": ("create a code", "新建登记码"),
    "code_devices": ("devices", "设备数"),
    "code_hours": ("valid for [h]", "有效小时数"),
    "code_used": ("used", "已使用"),
    "created_by": ("created by", "创建人"),
    "new_code_is": (
        "The new code is shown once: photograph it or copy it now.",
        "新登记码仅显示一次，请立即拍照或复制。",
    ),
    "proposals": ("devices that wait for a decision", "待确认设备"),
    "no_proposals": ("no device waits", "无待确认设备"),
    "decided_devices": ("devices that were decided on", "已处理设备"),
    "decided": ("decided", "处理时间"),
    "broker_access": ("access", "接入权限"),
    "credential_password": ("password", "口令"),
    "credential_certificate": ("certificate", "证书"),
    "channel": ("channel", "通道"),
    "channels_of_device": ("channels", "通道"),
    "unit": ("unit", "单位"),
    "interval": ("interval [s]", "间隔（秒）"),
    "limits": ("limits", "限值"),
    "limits_hint": (
        (
            "Limits are written as suspect_low=6, suspect_high=9 in the unit of the quantity; without"
            " them the usual ones of the quantity apply."
        ),
        "限值写作“名称=数值”，以逗号分隔，按监测量的单位；不填则采用该监测量的默认限值。",
    ),
    "leave_out": ("– leave out", "– 不登记"),
    "confirm_device": ("confirm the device", "确认设备"),
    "reject_device": ("refuse it", "拒绝"),
    "enrolment_state_confirmed": ("confirmed", "已确认"),
    "enrolment_state_rejected": ("refused", "已拒绝"),
    "enrolment_state_revoked": ("revoked", "已吊销"),
    "access_none": ("none", "无"),
    "access_pending": ("being set up", "处理中"),
    "access_granted": ("granted", "已授权"),
    "access_withdrawn": ("withdrawn", "已撤销"),
    "refused_form": ("This was refused; nothing is changed.", "操作被拒绝，未作任何更改。"),
    "refused_field": ("“{}” was refused: {}", "“{}”填写有误：{}"),
    "refused_taken": (
        "This id or state is taken: choose another id, or reload the page.",
        "编号已被占用或状态已变更：请更换编号，或刷新页面。",
    ),
    "refused_unknown": (
        "Something that the form names does not exist, or is not of your areas.",
        "表单中引用的内容不存在，或不属于您的区域。",
    ),
    "rule_id": ("letters, digits and . _ -, 64 at most", "仅限字母、数字及 . _ -，最多64个字符"),
    "rule_name": ("give 1 to 200 characters without < and >.", "请填写1至200个字符，不含尖括号。"),
    "rule_unknown": ("choose one of the list.", "请从列表中选择。"),
    "rule_members": (
        ("each member has its own id (letters, digits, dots, _ and -) and a name, and belongs to the team."),
        "每名成员须有唯一编号（字母、数字及 . _ -）和姓名，且属于该队伍。",
    ),
    "rule_geometry": (
        (
            "give a closed polygon as GeoJSON, longitude before latitude, whose boundary does not"
            " cross itself."
        ),
        "请提供闭合的多边形，经度在前，边界不得自相交。",
    ),
    "rule_email": ("give an address such as wang@example.org.", "请填写有效的邮箱地址。"),
    "rule_text": ("write 1 to 10,000 characters.", "请填写1至10000个字符。"),
    "rule_incidents": ("give numbers of incidents, separated by spaces.", "请填写事件编号，以空格分隔。"),
    "rule_rank": ("give a whole number from 1 to 100.", "请填写1至100的整数。"),
    "rule_rotations": (
        (
            "each rotation has members of the team, a begin, a length above 0 h, and either both"
            " times of the day or none."
        ),
        "每条轮班须有本队成员、开始时间和大于零的时长，起止时刻须同时填写或均不填写。",
    ),
    "rule_to": (
        "give a begin and an end after it, 90 days later at most.",
        "结束时间须晚于开始时间，且不超过90天。",
    ),
    "rule_url": (
        "robots and webhooks have one address (or the name of its secret), e-mail has none.",
        "机器人和网络回调须填写一个地址或地址密钥名称，电子邮件不填写。",
    ),
    "rule_secret": (
        "give the name of the secret's file: small letters, digits and hyphens.",
        "请填写密钥文件名称：小写字母、数字和连字符。",
    ),
    "rule_quiet": ("give both times, or neither.", "起止时间须同时填写或均不填写。"),
    "rule_code": ("1 to 1,000 devices, and 90 days at most.", "设备数为1至1000，有效期不超过90天。"),
    "rule_unit": ("choose a unit in which the quantity can be measured.", "请填写该监测量允许的单位。"),
    "rule_interval": ("give seconds above 0, 31 days at most.", "请填写大于零的秒数，不超过31天。"),
    "rule_limits": (
        "write NAME=NUMBER with names of limits, and low ones below high ones.",
        "请按“名称=数值”填写，下限须小于上限。",
    ),
    "rule_channels": (
        "give at least one channel a site, and each site and quantity to one channel only.",
        "至少为一个通道选择站点，且同一站点的同一监测量只能对应一个通道。",
    ),
}

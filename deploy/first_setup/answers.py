"""Defines the questions of the first set-up, in Chinese and English, and checks each answer."""

from __future__ import annotations

import platform
import re
import unicodedata
from typing import TYPE_CHECKING, Literal, NamedTuple

from deploy.errors import DeployError
from deploy.site_kinds import SITE_KINDS
from edge.wire.quantities import QUANTITIES
from edge.wire.topics import LEVEL_PATTERN
from ingest_service.storage.contract import name_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Language = Literal["zh", "en"]
MESSENGERS = ("none", "wecom", "dingtalk", "feishu")
SIGNED_MESSENGERS = ("dingtalk", "feishu")
# GB/T 2260: a province, then a prefecture and a county. Cities without counties (Dongguan, 441900) end in 00.
COUNTY_CODE = re.compile(r"(1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[12])(?!0000)[0-9]{4}")
WATER_DEFAULT = "water_temperature, ph, dissolved_oxygen, conductivity, turbidity, ammonia_nitrogen"
DEFAULT_QUANTITIES = {
    "rain_gauge": "rainfall",
    "tide_gauge": "water_level",
    "junction": "traffic_flow, traffic_speed, occupancy",
    "road_section": "traffic_flow, traffic_speed, occupancy",
}


class AnswerError(DeployError, ValueError):
    """An answer can't be used; the message is in both languages, see `text`.

    Attributes
    ----------
    texts : the message by language

    """

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.texts: dict[Language, str] = {"en": en, "zh": zh}


def no_default(_answers: Mapping[str, str]) -> str | None:
    """Return no proposal."""
    return None


class Question(NamedTuple):
    """A question of the set-up.

    Attributes
    ----------
    name : of the answer, and with hyphens of the flag
    en, zh : the prompt
    check : raises `AnswerError` for an answer that can't be used
    default : the proposed answer, computed from those before it; None if there is none
    is_secret : typed without echo, and given by file in place of a flag
    applies : whether the question is put, by the answers before it

    """

    name: str
    en: str
    zh: str
    check: Callable[[str], None]
    default: Callable[[Mapping[str, str]], str | None] = no_default
    is_secret: bool = False
    applies: Callable[[Mapping[str, str]], bool] = lambda _: True

    @property
    def is_required(self) -> bool:
        """Whether an answer has to be given in any case."""
        return self.default is no_default and not self.is_secret

    def normalise(self, answer: str) -> str:
        """Return an answer without spaces around it; numbers, codes and ids without full-width characters."""
        if self.is_secret or self.check is _check_name:
            return answer.strip()
        return unicodedata.normalize("NFKC", answer).strip()

    def text(self, language: Language) -> str:
        """Return the prompt in a language."""
        return self.zh if language == "zh" else self.en


def _check_county(answer: str) -> None:
    if not COUNTY_CODE.fullmatch(answer):
        raise AnswerError(
            f"{answer!r} is no code of a county: give the six digits of GB/T 2260, the first two of"
            " a province, such as 330483",
            f"“{answer}”不是县级代码：请填写国标代码的六位数字，前两位为省级代码，例如 330483",
        )


def _check_id(answer: str) -> None:
    if not LEVEL_PATTERN.fullmatch(answer):
        raise AnswerError(
            f"{answer!r} can't be an id: use letters, digits, hyphens and dots, without spaces",
            f"“{answer}”不能作为编号：只能用字母、数字、连字符和点，不含空格",
        )


def _check_name(answer: str) -> None:
    if not answer or not name_rules.is_valid_name(answer):
        raise AnswerError(
            "this can't be a name: give one without markup and control characters",
            "不能作为名称：名称不能为空，也不能含标记或控制字符",
        )


def _check_choice(*choices: str) -> Callable[[str], None]:
    def check(answer: str) -> None:
        if answer not in choices:
            listed = ", ".join(choices)
            raise AnswerError(f"{answer!r} is none of {listed}", f"“{answer}”不在可选项之内：{listed}")

    return check


def _check_number(low: float, high: float) -> Callable[[str], None]:
    def check(answer: str) -> None:
        try:
            is_within = low <= float(answer) <= high
        except ValueError:
            is_within = False
        if not is_within:
            raise AnswerError(
                f"{answer!r} is no number from {low:g} to {high:g}",
                f"“{answer}”不是 {low:g} 到 {high:g} 之间的数",
            )

    return check


def split_quantities(answer: str) -> list[str]:
    """Return the quantities of an answer, which commas or spaces separate."""
    return [one for one in re.split(r"[\s,，、]+", answer) if one]


def _check_quantities(answer: str) -> None:
    wrong = [one for one in split_quantities(answer) if one not in QUANTITIES]
    if wrong or not split_quantities(answer):
        listed = ", ".join(sorted(QUANTITIES))
        raise AnswerError(
            f"no quantity: {', '.join(wrong) or 'nothing'}. There are: {listed}",
            f"没有这些监测项：{'、'.join(wrong) or '空'}。可选：{listed}",
        )


def _check_address(answer: str) -> None:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", answer):
        raise AnswerError(
            f"{answer!r} is no address: it looks like https://twin.example.org",
            f"“{answer}”不是网址：格式如 https://twin.example.org",
        )


def _check_robot(answer: str) -> None:
    if not re.fullmatch(r"https://\S+", answer):
        raise AnswerError("a robot's address begins with https://", "机器人地址须为加密网址")


def _check_secret(answer: str) -> None:
    if not answer.strip():
        raise AnswerError("the signature's key is empty", "签名密钥为空")


def _after(name: str, ending: str = "") -> Callable[[Mapping[str, str]], str | None]:
    return lambda answers: answers[name] + ending


QUESTIONS = (
    Question("county", "County code (GB/T 2260)", "县（市、区）代码（国标六位）", _check_county),
    Question("county_zh", "County, Chinese name", "县（市、区）中文名", _check_name),
    Question("county_en", "County, English name", "县（市、区）英文名", _check_name, _after("county_zh")),
    Question("town", "Id of the town", "乡镇编号", _check_id, _after("county", "-d1")),
    Question("town_zh", "Town, Chinese name", "乡镇中文名", _check_name),
    Question("town_en", "Town, English name", "乡镇英文名", _check_name, _after("town_zh")),
    Question("site", "Id of the first site", "第一个站点的编号", _check_id, _after("town", "-r01")),
    Question(
        "site_kind",
        f"Kind of the site ({', '.join(SITE_KINDS)})",
        f"站点类型（{'、'.join(SITE_KINDS)}）",
        _check_choice(*SITE_KINDS),
        lambda _: SITE_KINDS[0],
    ),
    Question("site_zh", "Site, Chinese name", "站点中文名", _check_name),
    Question("site_en", "Site, English name", "站点英文名", _check_name, _after("site_zh")),
    Question("lon", "Longitude [deg, WGS 84]", "经度（度，1984 世界大地坐标系）", _check_number(-180, 180)),
    Question("lat", "Latitude [deg, WGS 84]", "纬度（度，1984 世界大地坐标系）", _check_number(-90, 90)),
    Question(
        "quantities",
        "Measured quantities, by comma",
        "监测项，用逗号分隔",
        _check_quantities,
        lambda answers: DEFAULT_QUANTITIES.get(answers["site_kind"], WATER_DEFAULT),
    ),
    Question(
        "interval_s",
        "Interval of readings [s]",
        "采样间隔（秒）",
        _check_number(1, 86_400),
        lambda _: "300",
    ),
    Question("device", "Id of the device", "设备编号", _check_id, _after("site")),
    Question(
        "url",
        "Address of the console, as people reach it",
        "控制台网址（供人员访问）",
        _check_address,
        lambda _: f"https://{platform.node()}:8443",  # as install.sh serves it
    ),
    Question("administrator", "Name of the administrator", "管理员姓名", _check_name),
    Question(
        "messenger",
        f"Messenger of the duty group ({', '.join(MESSENGERS)})",
        f"值班群的即时通讯（{'、'.join(MESSENGERS)}）",
        _check_choice(*MESSENGERS),
        lambda _: MESSENGERS[0],
    ),
    Question(
        "messenger_address",
        "Address of the group's robot (not shown)",
        "群机器人地址（不显示）",
        _check_robot,
        is_secret=True,
        applies=lambda answers: answers["messenger"] != "none",
    ),
    Question(
        "messenger_signature",
        "Key of the robot's signature (not shown)",
        "群机器人签名密钥（不显示）",
        _check_secret,
        is_secret=True,
        applies=lambda answers: answers["messenger"] in SIGNED_MESSENGERS,
    ),
)

"""Set up the first town: area, site, device, administrator and messenger, by dialogue or by flags.

See docs/howto/operate/install.md. It writes the site file and enrols it, gives the device a password at the
broker, makes the administrator's key, and prints the console's address and a QR code for technicians.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.command_resources import open_store
from deploy.first_setup.answers import QUESTIONS

if TYPE_CHECKING:
    import argparse

    from deploy.first_setup.answers import Language
    from deploy.first_setup.platform_entries import SetupResult
    from deploy.settings import CommonSettings

INSTALLED_SITES = Path("/etc/towntwin/sites")
INSTALLED_SECRETS = Path("/etc/towntwin/secrets/notification")
TEXTS = {
    "en": {
        "ended": "setup: the terminal was closed before the last answer: nothing was made",
        "site": "Site file: {}",
        "password": "Password of the device at the broker: {} (take it to the device, then delete it)",
        "taken": "The device has a credential at the broker already, and keeps it",
        "key": "Administrator's key for a year, not shown again: {}",
        "console": "Console: {}",
        "code": "For technicians, {} devices within {:.0f} hours (`towntwin edge enrol`): {}",
    },
    "zh": {
        "ended": "安装设置：尚未答完终端即已关闭，未写入任何内容",
        "site": "站点文件：{}",
        "password": "设备在消息服务器上的密码：{}（复制到设备后请删除）",
        "taken": "设备已有接入凭证，保持不变",
        "key": "管理员密钥，有效期一年，只显示这一次：{}",
        "console": "控制台：{}",
        "code": "技术人员登记码，可登记 {} 台设备，{:.0f} 小时内有效：{}",
    },
}


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags: one for each question, by file where the answer is a secret."""
    parser.add_argument(
        "--answers", type=Path, metavar="FILE", help="answers (TOML), by the names of the flags"
    )
    parser.add_argument("--language", choices=["zh", "en"], help="of the dialogue")
    parser.add_argument(
        "--site-folder", type=Path, help=f"of the site file (default {INSTALLED_SITES}, or here)"
    )
    parser.add_argument(
        "--secrets-folder",
        type=Path,
        help=f"of the service's secrets (default {INSTALLED_SECRETS}, if it is there)",
    )
    for question in QUESTIONS:
        flag = "--" + question.name.replace("_", "-")
        if question.is_secret:
            parser.add_argument(f"{flag}-file", metavar="FILE", help=f"{question.en}: a file")
        else:
            parser.add_argument(flag, help=question.en)


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Collect the answers, and make what they name."""
    from deploy.first_setup import dialogue, platform_entries
    from deploy.first_setup.answers import AnswerError
    from deploy.settings import SettingsError

    prompts = sys.stdin.isatty()
    language = dialogue.choose_language(args.language, os.environ.get("LANG", ""), prompts=prompts)
    store = open_store(common, args)
    try:
        given = {} if args.answers is None else dialogue.read_answers_file(args.answers)
        names = [one.name + ("_file" if one.is_secret else "") for one in QUESTIONS]
        given |= {name: getattr(args, name) for name in names if getattr(args, name) is not None}
        answers = dialogue.collect_answers(given, language=language, prompts=prompts)
        secrets_folder = args.secrets_folder or (INSTALLED_SECRETS if INSTALLED_SECRETS.is_dir() else None)
        result = platform_entries.make_entries(
            store, answers, args.site_folder or _site_folder(), secrets_folder
        )
    except EOFError as error:
        raise SettingsError(TEXTS[language]["ended"]) from error
    except AnswerError as error:
        raise SettingsError(error.texts[language]) from error
    finally:
        store.close()
    _print_result(result, answers["url"], language)
    return 0


def _site_folder() -> Path:
    return INSTALLED_SITES if INSTALLED_SITES.is_dir() else Path()


def _print_result(result: SetupResult, url: str, language: Language) -> None:
    from deploy.first_setup.platform_entries import CODE_DEVICES, CODE_HOURS
    from deploy.terminal_qr import draw_qr_code

    texts = TEXTS[language]
    print(texts["site"].format(result.site_file))
    if result.password_file is None:
        print(texts["taken"])
    else:
        print(texts["password"].format(result.password_file))
    print(texts["key"].format(result.key))
    print(texts["code"].format(CODE_DEVICES, CODE_HOURS, result.code))
    if sys.stdout.isatty():
        print(draw_qr_code(result.code), end="")
    print(texts["console"].format(url))

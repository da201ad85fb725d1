"""Tests each way of sending against a strict fake server that enforces signature, size and rate."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from analytics.notification.delivery_plan import PlannedDigest
from analytics.notification.digests import LinkSigner
from analytics.notification.errors import AddressRefusedError, NotificationError
from analytics.notification.http_client import HttpClient, HttpResponse, TemporaryHttpError, check_url
from analytics.notification.rate_limits import DestinationBucket
from analytics.notification.robots import ROBOTS
from analytics.notification.secret_files import SecretReader
from analytics.notification.sender import ResolvedChannel, Sender, resolve_channel
from ingest_service.storage.contract.duty import TeamMember
from ingest_service.storage.contract.notifications import Notification, NotificationChannel
from tests.support.fake_messengers import SIGN_KEY, FakeMessengers, serve_messengers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from analytics.notification.outcomes import SendOutcome

CLIENT = HttpClient(["127.0.0.0/8"])
PUBLIC_CLIENT = HttpClient()
LINKS = LinkSigner("https://twin.example.org", b"k" * 32, 86_400.0)
SIGNED = ("dingtalk", "feishu", "webhook")
KINDS = ("wecom", *SIGNED)


@pytest.fixture(scope="module")
def served() -> Iterator[FakeMessengers]:
    with serve_messengers() as fakes:
        yield fakes


def channel(kind: Any, **changed: Any) -> NotificationChannel:
    return NotificationChannel(
        channel_id=f"c-{kind}", area_id="a1", kind=kind, en="group", zh="群", **changed
    )


def resolved(fakes: FakeMessengers, kind: str, robot: str, key: str | None = SIGN_KEY) -> ResolvedChannel:
    url = getattr(fakes, kind)(robot)
    return ResolvedChannel(channel(kind), f"{kind}/{robot}", url, key if kind in SIGNED else None)


def notifications(count: int, text: str = "河段溶解氧偏低") -> tuple[Notification, ...]:
    return tuple(
        Notification(
            notification_id=number,
            area_id="a1",
            incident_id=number,
            step="opened",
            member_id="wang",
            channel_id="c",
            priority=1 + number % 4,
            text_en=f"#{number} {text}",
            text_zh=f"#{number} {text}",
            created_s=float(number),
            due_s=0.0,
        )
        for number in range(1, count + 1)
    )


def digest(rows: tuple[Notification, ...]) -> PlannedDigest:
    return PlannedDigest("c", "d", "channel/c", ("wang",), rows)


def sender(**changed: Any) -> Sender:
    arguments: dict[str, Any] = {
        "client": CLIENT,
        "mail_server": None,
        "links": LINKS,
        "members": {"wang": TeamMember(member_id="wang", name="王芳", email="wang@example.org")},
    }
    return Sender(**arguments | changed)


@pytest.mark.parametrize("count", [1, 5, 500])
@pytest.mark.parametrize("kind", KINDS)
def test_a_digest_of_any_length_is_one_message_that_the_service_accepts(
    served: FakeMessengers, kind: str, count: int
) -> None:
    robot = f"{kind}-{count}"
    rows = notifications(count, "“引号”与\\反斜杠\n换行 [x](http://evil) " + "长" * 40)
    outcome = sender().send(resolved(served, kind, robot), digest(rows), served.now_s)
    assert (outcome.result, served.refusals[robot]) == ("sent", [])
    ((_, text),) = served.messages[robot]
    assert f"{count}件" in text
    assert ("另有" in text) == (count == 500 and kind != "webhook") or kind == "webhook"
    assert "#1 " in text or count == 500


@pytest.mark.parametrize("kind", SIGNED)
def test_a_wrong_key_is_refused_for_good_and_named_in_no_detail(served: FakeMessengers, kind: str) -> None:
    outcome = sender().send(
        resolved(served, kind, f"{kind}-wrong", "another"), digest(notifications(1)), served.now_s
    )
    assert (outcome.result, outcome.is_permanent) == ("refused", True)
    assert "another" not in outcome.detail


def test_feishu_refuses_what_is_too_long_for_good_and_limits_bursts(served: FakeMessengers) -> None:
    robot = ROBOTS["feishu"]

    def post(name: str, text: str) -> SendOutcome:
        request = robot.request(served.feishu(name), SIGN_KEY, "title", text, served.now_s)
        return robot.outcome(CLIENT.post(request.url, {"Content-Type": "application/json"}, request.body))

    too_long = post("feishu-long", "长" * 7_000)
    assert (too_long.result, too_long.is_permanent) == ("refused", True)
    assert served.refusals["feishu-long"] == [9499]
    burst = [post("feishu-burst", "短") for _ in range(6)]
    assert [one.result for one in burst] == ["sent"] * 5 + ["limited"]
    assert burst[-1].blocked_s == 60.0
    older = HttpResponse(400, {}, b'{"code":9499,"msg":"too many request"}')
    assert robot.outcome(older).result == "limited"


def test_without_the_bucket_dingtalk_blocks_for_ten_minutes(served: FakeMessengers) -> None:
    target = resolved(served, "dingtalk", "naive")
    results = [sender().send(target, digest(notifications(1)), served.now_s) for _ in range(21)]
    assert [one.result for one in results[:20]] == ["sent"] * 20
    assert (results[20].result, results[20].blocked_s) == ("limited", 600.0)
    served.now_s += 599
    assert sender().send(target, digest(notifications(1)), served.now_s).result == "limited"
    served.now_s += 2
    assert sender().send(target, digest(notifications(1)), served.now_s).result == "sent"


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("kind", ["wecom", "dingtalk", "feishu"])
def test_a_bucket_keeps_within_the_rate_in_any_minute_whatever_restarts(
    served: FakeMessengers, kind: str, *, restarts: bool
) -> None:
    robot = f"{kind}-paced-{restarts}"
    target, rows = resolved(served, kind, robot), digest(notifications(1))
    stored = None
    bucket = DestinationBucket(robot, ROBOTS[kind].rate, None)
    for _ in range(200):  # five minutes
        served.now_s += 1.5
        if restarts:
            bucket = DestinationBucket(robot, ROBOTS[kind].rate, stored)
        if bucket.may_send(served.now_s):
            stored = bucket.spend(served.now_s)
            assert sender().send(target, rows, served.now_s).result == "sent"
    times = [at for at, _ in served.messages[robot]]
    most = max(sum(start <= one < start + 60 for one in times) for start in times)
    assert served.refusals[robot] == []
    assert 15 <= most <= 19
    assert len(times) >= 4 + 0.25 * 300 - 2


def test_a_robot_that_is_away_is_unknown_and_may_be_tried_again(served: FakeMessengers) -> None:
    served.away.add("gone")
    outcome = sender().send(resolved(served, "wecom", "gone"), digest(notifications(1)), served.now_s)
    assert (outcome.result, outcome.is_permanent) == ("unknown", False)


def test_a_repeated_webhook_has_the_same_key(served: FakeMessengers) -> None:
    for _ in range(2):
        sender().send(resolved(served, "webhook", "twice"), digest(notifications(3)), served.now_s)
    assert len(served.messages["twice"]) == 2
    assert len(served.keys["twice"]) == 1


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.1.1",
        "[::ffff:10.0.0.1]",
        "0.0.0.0",  # noqa: S104
        "2130706433",
        "100.64.0.1",
        "[fe80::1]",
        "224.0.0.1",
    ],
)
def test_a_webhook_reaches_no_private_address(host: str) -> None:
    with pytest.raises(AddressRefusedError, match="no public address"):
        PUBLIC_CLIENT.post(f"http://{host}:9/hook", {}, b"{}")


def test_the_address_that_is_connected_is_the_one_that_was_checked(
    served: FakeMessengers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: a name that resolves to a public address first, and to a private one when connected."""
    resolved_hosts = []
    real = socket.getaddrinfo

    def rebinding(host: Any, *args: Any, **options: Any) -> Any:
        resolved_hosts.append(host)
        if host != "rebinding.example":
            return real(host, *args, **options)
        return real("127.0.0.1" if "127.0.0.2" in resolved_hosts else "127.0.0.2", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    port = served.url.rpartition(":")[2]
    with pytest.raises(TemporaryHttpError):  # nobody listens at the address that is allowed
        HttpClient(["127.0.0.2/32"]).post(f"http://rebinding.example:{port}/hook/rebinding", {}, b"{}")
    assert resolved_hosts == ["rebinding.example", "127.0.0.2"]
    assert served.requests["rebinding"] == 0


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://h/",
        "https://user:secret@h/",
        "https://",
        "http://h:99999/",
        "h/x",
        "https://h/ x",
        "https://h/\r\nX: y",
        "gopher://h/",
    ],
)
def test_an_address_that_is_no_webhook_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(NotificationError) as error:
        check_url(url)
    assert "secret" not in str(error.value)


def test_secrets_are_of_their_area_and_in_no_text(
    tmp_path: Path, served: FakeMessengers, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a1").mkdir()
    (tmp_path / "a1" / "robot").write_text(served.wecom("hidden-token") + "\n")
    environment = {"TOWNTWIN_SECRET_A1_SIGN": SIGN_KEY}
    secrets = SecretReader(tmp_path, environment)
    with caplog.at_level(logging.DEBUG):
        found = resolve_channel(channel("wecom", url_secret="robot", sign_secret="sign"), secrets)  # noqa: S106
        assert sender().send(found, digest(notifications(1)), served.now_s).result == "sent"
    assert (found.url, found.key) == (served.wecom("hidden-token"), SIGN_KEY)
    for text in (repr(found), str(found), found.destination, caplog.text):
        assert "hidden-token" not in text
        assert SIGN_KEY not in text
    other = msgspec.structs.replace(channel("wecom", url_secret="robot"), area_id="a2")  # noqa: S106
    with pytest.raises(NotificationError, match="secret 'robot' of area a2: no file"):
        resolve_channel(other, secrets)
    for name in ("../a1/robot", "a/b", "", "."):
        with pytest.raises(NotificationError):
            secrets.read("a1", name)
    with pytest.raises(NotificationError):
        secrets.read("..", "robot")

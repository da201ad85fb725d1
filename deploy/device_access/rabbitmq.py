"""Access of devices at RabbitMQ with its MQTT plugin, by the HTTP API of its management plugin.

The MQTT plugin maps topics to routing keys of the exchange ``amq.topic``, with dots for slashes. So an id
with a dot would match other topics, and is refused.
"""

from __future__ import annotations

import base64
import json
import re
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from deploy.device_access.broker_access import BrokerAccessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.device_access.broker_access import DeviceAccess

EXCHANGE = "amq.topic"
TAG = "towntwin-device"  # marks the users that were made here
ANSWER_S = 10.0
NOT_FOUND = 404


class RabbitMq:
    """The management API of a RabbitMQ.

    Parameters
    ----------
    url : ``http://`` or ``https://`` address of the management plugin
    user, password : an administrator
    vhost : the virtual host of the MQTT plugin

    """

    def __init__(self, url: str, user: str, password: str, vhost: str = "/") -> None:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise BrokerAccessError(f"{url} is no address of RabbitMQ's management: http://host:15672")
        self._url = url.rstrip("/")
        self._vhost = quote(vhost, safe="")
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def grant(self, devices: Sequence[DeviceAccess]) -> None:
        """Create or change the users of devices with their permissions. Raises `BrokerAccessError`."""
        for one in devices:
            topic_permission = topic_permissions(one)  # first: it refuses some ids
            user = quote(one.device, safe="")
            present = self._call("GET", f"users/{user}", may_be_absent=True)
            if present is not None and TAG not in present.get("tags", []):
                raise BrokerAccessError(
                    f"RabbitMQ at {self._url} has a user {one.device!r} that is no device: give the device"
                    " another id"
                )
            password = {"password_hash": ""} if one.password is None else {"password": one.password}
            self._call("PUT", f"users/{user}", {**password, "tags": TAG})
            self._call("PUT", f"permissions/{self._vhost}/{user}", queue_permissions(one.device))
            self._call("PUT", f"topic-permissions/{self._vhost}/{user}", topic_permission)

    def revoke(self, devices: Sequence[str]) -> None:
        """Delete the users of devices and close their connections."""
        for device in devices:
            user = quote(device, safe="")
            self._call("DELETE", f"users/{user}", may_be_absent=True)
            self._call("DELETE", f"connections/username/{user}", may_be_absent=True)

    def granted(self) -> set[str]:
        """Return the users that were made here."""
        users = self._call("GET", "users")
        return {one["name"] for one in users or [] if TAG in one.get("tags", [])}

    def close(self) -> None:
        """Do nothing: each request has its own connection."""

    def _call(self, method: str, path: str, body: Any = None, *, may_be_absent: bool = False) -> Any:
        request = Request(  # noqa: S310 - the scheme is checked at the start
            f"{self._url}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": self._authorization, "Content-Type": "application/json"},
        )
        try:
            with urlopen(request, timeout=ANSWER_S) as response:  # noqa: S310
                content = response.read()
        except HTTPError as error:
            if may_be_absent and error.code == NOT_FOUND:
                return None
            raise BrokerAccessError(
                f"RabbitMQ at {self._url} refuses {method} {path.partition('/')[0]} with status"
                f" {error.code}: check the administrator's user and password"
            ) from error
        except (URLError, HTTPException, OSError) as error:
            raise BrokerAccessError(f"RabbitMQ at {self._url} can't be reached: {error}") from error
        return json.loads(content) if content else None


def queue_permissions(device: str) -> dict[str, str]:
    """Return the permissions of a device's user on queues and exchanges, as regular expressions.

    The client id of an agent is its device's id, after which the plugin names the queues of subscriptions.
    """
    queue = rf"^mqtt-subscription-{re.escape(device)}qos[01]$"
    return {
        "configure": queue,
        "write": rf"{queue}|^amq\.topic$",
        "read": rf"{queue}|^amq\.topic$",
    }


def topic_permissions(device: DeviceAccess) -> dict[str, str]:
    r"""Return the topic permissions of a device's user, as regular expressions of routing keys.

    >>> from deploy.device_access.broker_access import DeviceAccess
    >>> permissions = topic_permissions(DeviceAccess("t1", "wz-01"))
    >>> permissions["read"]
    '^(towntwin\\.v1\\.t1\\.wz\\-01\\.receipt|towntwin\\.v1\\.t1\\.wz\\-01\\.command)$'
    """
    if "." in device.device or "." in device.area:
        raise BrokerAccessError(
            f"device {device.area}/{device.device}: RabbitMQ takes a dot for a slash in topics, so that"
            " the device could publish as others: give it an id without a dot"
        )
    return {
        "exchange": EXCHANGE,
        "write": _expression(device.published),
        "read": _expression(device.received),
    }


def _expression(topics: Sequence[str]) -> str:
    keys = [re.escape(topic.replace("/", ".")) for topic in topics]
    return f"^({'|'.join(keys)})$"

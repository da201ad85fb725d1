"""Access of devices at Mosquitto, by the control topics of its dynamic security plugin.

Each device has a client (its user) and a role with its own topics; both are named after it. Clients and roles
of other names, such as those of the platform itself, stay as they are.
"""

from __future__ import annotations

import itertools
import json
import secrets
import sys
import threading
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from deploy.device_access.broker_access import BrokerAccessError
from edge.wire import broker_tls

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deploy.device_access.broker_access import DeviceAccess
    from edge.wire.broker_address import BrokerAddress

CONTROL_TOPIC = "$CONTROL/dynamic-security/v1"
RESPONSE_TOPIC = f"{CONTROL_TOPIC}/response"
ROLE_PREFIX = "towntwin-device-"
CLIENT_LABEL = "towntwin device"  # marks the clients that were made here
ANSWER_S = 10.0
MAX_COMMANDS = 100  # of one message, which the broker carries out at once
ABSENT, PRESENT = "not found", "already exists"  # in the plugin's error texts

Command = dict[str, Any]


class DynamicSecurity:
    """A connection to Mosquitto as a user with the role ``admin`` of the plugin.

    Parameters
    ----------
    broker : address with the administrator's credentials

    """

    def __init__(self, broker: BrokerAddress) -> None:
        self._broker = broker
        self._numbers = itertools.count(1)
        self._answers: dict[str, Command] = {}
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._problem = ""
        self._is_accepted = False
        self._client = self._connect()

    def grant(self, devices: Sequence[DeviceAccess]) -> None:
        """Create or change the clients and roles of devices. Raises `BrokerAccessError`."""
        self._check_own_clients(devices)
        self._run([_role_command("createRole", one) for one in devices], fallback=_change_role)
        self._run([_client_command("createClient", one) for one in devices], fallback=_change_client)
        self._run([{"command": "enableClient", "username": one.device} for one in devices])

    def _check_own_clients(self, devices: Sequence[DeviceAccess]) -> None:
        """Raise where a client of a device's name was not made here: it may be the administrator's."""
        commands = [{"command": "getClient", "username": one.device} for one in devices]
        for answer in self._run(commands, ignored=ABSENT):
            client = answer.get("data", {}).get("client", {})
            if client and client.get("textname") != CLIENT_LABEL:
                raise BrokerAccessError(
                    f"{self._broker} has a client {client['username']!r} that is no device: give the device"
                    " another id"
                )

    def revoke(self, devices: Sequence[str]) -> None:
        """Delete the roles of devices and disable their clients, whose connections end at once."""
        # A client with a certificate can still connect by TLS: without its role it may do nothing. A role is
        # taken from its client before it is deleted: otherwise Mosquitto 2.0.21 may crash (SIGSEGV) when the
        # client publishes again.
        self._run(
            [
                {"command": "removeClientRole", "username": device, "rolename": ROLE_PREFIX + device}
                for device in devices
            ],
            ignored=ABSENT,
        )
        self._run(
            [{"command": "deleteRole", "rolename": ROLE_PREFIX + device} for device in devices],
            ignored=ABSENT,
        )
        self._run([{"command": "disableClient", "username": device} for device in devices], ignored=ABSENT)

    def granted(self) -> set[str]:
        """Return the devices that have a role here."""
        (answer,) = self._run([{"command": "listRoles", "verbose": False}])
        names = [one if isinstance(one, str) else one["rolename"] for one in answer["data"]["roles"]]
        return {name.removeprefix(ROLE_PREFIX) for name in names if name.startswith(ROLE_PREFIX)}

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    # -- connection ------------------------------------------------------------------------------

    def _connect(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"towntwin-access-{secrets.token_hex(4)}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        if self._broker.user is not None:
            client.username_pw_set(self._broker.user, self._broker.password)
        broker_tls.secure_client(client, self._broker)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.connect_async(self._broker.host, self._broker.port)
        client.loop_start()
        return client

    def _on_connect(
        self, client: Client, _data: object, _flags: object, reason: Any, _properties: object
    ) -> None:
        self._ready.clear()
        self._is_accepted = not reason.is_failure
        if reason.is_failure:
            self._problem = f"refuses the connection ({reason}): check the administrator's user and password"
            return
        client.subscribe(RESPONSE_TOPIC, qos=1)

    def _on_connect_fail(self, _client: Client, _data: object) -> None:
        error = sys.exc_info()[1]  # paho calls this while it handles the error
        if isinstance(error, Exception):
            self._problem = f"can't be reached: {broker_tls.describe_failure(error, self._broker)}"

    def _on_disconnect(self, _client: Client, _data: object, *_reason: object) -> None:
        hint = broker_tls.describe_early_end(self._broker)
        if hint and not self._is_accepted and not self._problem:
            self._problem = f"ended the connection: {hint}"
        self._is_accepted = False

    def _on_subscribe(
        self, _client: Client, _data: object, _mid: int, reasons: list[Any], _properties: object
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._problem = "lets this user not administer it: give it the role admin of the plugin"
            return
        self._problem = ""
        self._ready.set()

    def _on_message(self, _client: Client, _data: object, message: Any) -> None:
        try:
            responses = json.loads(message.payload)["responses"]
        except (ValueError, KeyError, TypeError):
            return
        with self._changed:
            for one in responses:
                if isinstance(one, dict) and "correlationData" in one:
                    self._answers[str(one["correlationData"])] = one
            self._changed.notify_all()

    # -- commands --------------------------------------------------------------------------------

    def _run(self, commands: Sequence[Command], *, ignored: str = "", fallback: Any = None) -> list[Command]:
        """Run commands; return their answers.

        Parameters
        ----------
        ignored : text of an error that is none
        fallback : makes the commands that take the place of one whose object exists already

        """
        answers: list[Command] = []
        for first in range(0, len(commands), MAX_COMMANDS):
            sent = commands[first : first + MAX_COMMANDS]
            again: list[Command] = []
            for command, answer in zip(sent, self._send(sent), strict=True):
                error = str(answer.get("error", ""))
                if fallback is not None and PRESENT in error.lower():
                    again += fallback(command)
                elif error and not (ignored and ignored in error.lower()):
                    raise BrokerAccessError(f"{self._broker}: {command['command']} failed: {error}")
                answers.append(answer)
            if again:
                self._run(again)
        return answers

    def _send(self, commands: Iterable[Command]) -> list[Command]:
        if not self._ready.wait(ANSWER_S):
            problem = self._problem or (
                "does not answer: see that its dynamic security plugin is loaded, and the user may use it"
            )
            raise BrokerAccessError(f"{self._broker} {problem}")
        numbered = [{**one, "correlationData": str(next(self._numbers))} for one in commands]
        self._client.publish(CONTROL_TOPIC, json.dumps({"commands": numbered}), qos=1)
        keys = [one["correlationData"] for one in numbered]
        with self._changed:
            is_complete = self._changed.wait_for(lambda: all(key in self._answers for key in keys), ANSWER_S)
            found = [self._answers.pop(key, {}) for key in keys]
        if not is_complete:
            raise BrokerAccessError(
                f"{self._broker} does not answer on {RESPONSE_TOPIC}: load its dynamic security plugin, and"
                " give this user the role admin"
            )
        return found


def _role_command(name: str, device: DeviceAccess) -> Command:
    kinds = [("publishClientSend", device.published), ("publishClientReceive", device.received)]
    kinds.append(("subscribeLiteral", device.received))
    acls = [{"acltype": kind, "topic": topic, "allow": True} for kind, topics in kinds for topic in topics]
    return {"command": name, "rolename": ROLE_PREFIX + device.device, "acls": acls}


def _change_role(command: Command) -> list[Command]:
    return [command | {"command": "modifyRole"}]


def _client_command(name: str, device: DeviceAccess) -> Command:
    roles = [{"rolename": ROLE_PREFIX + device.device}]
    password = {} if device.password is None else {"password": device.password}
    return {
        "command": name,
        "username": device.device,
        "textname": CLIENT_LABEL,
        "roles": roles,
        **password,
    }


def _change_client(command: Command) -> list[Command]:
    return [command | {"command": "modifyClient"}]

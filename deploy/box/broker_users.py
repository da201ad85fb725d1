"""Makes the first content of Mosquitto's dynamic security plugin: its administrator and the platform's users.

The plugin takes any further change, such as the users of devices, by `towntwin access`.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SALT_BYTES, HASH_BYTES = 12, 64
# Mosquitto's own default; the passwords are random numbers of 192 bits, for which one would do.
ITERATIONS = 101
CONTROL, SYSTEM, ALL = "$CONTROL/dynamic-security/#", "$SYS/#", "towntwin/v1/+/+"

ACLS_BY_ROLE: dict[str, list[tuple[str, str]]] = {
    "admin": [
        ("publishClientSend", CONTROL),
        ("publishClientReceive", CONTROL),
        ("subscribePattern", CONTROL),
        ("publishClientReceive", SYSTEM),
        ("subscribePattern", SYSTEM),
    ],
    "towntwin-platform": [
        ("subscribePattern", "towntwin/#"),
        ("publishClientReceive", "towntwin/#"),
        ("publishClientSend", f"{ALL}/receipt"),
        ("publishClientSend", f"{ALL}/command"),
    ],
    # `towntwin federate receive` receives what towns forward, and sends receipts and commands; nothing else.
    "towntwin-federation": [
        ("subscribePattern", f"{ALL}/federation"),
        ("publishClientReceive", f"{ALL}/federation"),
        ("publishClientSend", f"{ALL}/receipt"),
        ("publishClientSend", f"{ALL}/command"),
    ],
    # The HJ 212 server publishes for all of its stations, and receives their receipts and commands.
    "towntwin-stations": [
        *(("publishClientSend", f"{ALL}/{kind}") for kind in ("data", "status", "event")),
        *(
            (acl, f"{ALL}/{kind}")
            for acl in ("subscribePattern", "publishClientReceive")
            for kind in ("receipt", "command")
        ),
    ],
}
ROLE_BY_USER = {
    "admin": "admin",
    "towntwin-ingest": "towntwin-platform",
    "towntwin-hj212": "towntwin-stations",
    "towntwin-federate-receive": "towntwin-federation",
}


def initial_configuration(
    passwords: Mapping[str, str], roles_by_user: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Return the plugin's configuration, whose passwords are salted hashes (PBKDF2 with SHA-512).

    Parameters
    ----------
    passwords : of each user
    roles_by_user : users with their roles (keys of `ACLS_BY_ROLE`); those of `ROLE_BY_USER` where None

    """
    if roles_by_user is None:
        roles_by_user = {user: [role] for user, role in ROLE_BY_USER.items()}
    return {
        "defaultACLAccess": {
            "publishClientSend": False,
            "publishClientReceive": True,
            "subscribe": False,
            "unsubscribe": True,
        },
        "clients": [_client(user, passwords[user], roles) for user, roles in roles_by_user.items()],
        "groups": [],
        "roles": [
            {
                "rolename": role,
                "acls": [
                    {"acltype": kind, "topic": topic, "priority": 0, "allow": True} for kind, topic in acls
                ],
            }
            for role, acls in ACLS_BY_ROLE.items()
        ],
    }


def add_missing_users(configuration: dict[str, Any], newest: Mapping[str, Any]) -> list[str]:
    """Add the platform's roles, their permissions and users that a broker lacks; return their names.

    What the configuration has besides, such as the users of devices, is left as it is.

    Parameters
    ----------
    configuration : of the plugin, changed in place
    newest : what `initial_configuration` returns for all of the platform's users

    """
    added = []
    for objects, name in (("roles", "rolename"), ("clients", "username")):
        present = {one[name] for one in configuration.setdefault(objects, [])}
        missing = [one for one in newest[objects] if one[name] not in present]
        configuration[objects] += missing
        added += [str(one[name]) for one in missing]
    newest_permissions = {one["rolename"]: one["acls"] for one in newest["roles"]}
    for role in configuration["roles"]:
        permissions = role.setdefault("acls", [])
        present = {(one["acltype"], one["topic"]) for one in permissions}
        missing = [
            one
            for one in newest_permissions.get(role["rolename"], [])
            if (one["acltype"], one["topic"]) not in present
        ]
        permissions += missing
        added += [f"{role['rolename']}: {one['topic']}" for one in missing]
    return added


def _client(user: str, password: str, roles: Sequence[str]) -> dict[str, Any]:
    salt = os.urandom(SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS, HASH_BYTES)
    return {
        "username": user,
        "textname": f"towntwin: {', '.join(roles)}",
        "roles": [{"rolename": role} for role in roles],
        "password": base64.b64encode(digest).decode(),
        "salt": base64.b64encode(salt).decode(),
        "iterations": ITERATIONS,
    }

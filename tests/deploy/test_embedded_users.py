"""Whom the servers of the embedded stack run as."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from deploy.embedded.broker import EmbeddedBroker
from deploy.embedded.folder import BROKER_UID, server_user

if TYPE_CHECKING:
    from pathlib import Path


def test_the_broker_is_no_user_that_could_change_the_database(open_folder: Path) -> None:
    user = server_user()
    assert user is not None, "the tests run as root"
    with EmbeddedBroker(open_folder / "broker") as broker:
        assert psutil.Process(broker.pid).uids().real == BROKER_UID != user.pw_uid

"""Stores the items of a forwarded message in its transaction, all of them, or all but those refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from edge.wire import federation
from ingest_service.storage.contract.errors import StoreError, StoreRefusedError
from ingest_service.storage.contract.federation import ForwardingRefusedError, ItemRefusal
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from psycopg import Connection

    from ingest_service.storage.contract.federation import RefusedItems

T = TypeVar("T")
log = structlog.get_logger()


def store_each(
    connection: Connection[Any],
    field: str,
    items: Iterable[tuple[int, T]],
    store_item: Callable[[T], None],
    refused: RefusedItems | None,
) -> None:
    """Store items, given with their numbers in the list ``field`` of the message.

    Parameters
    ----------
    refused : collects the items that can't be stored, each of which is undone alone by a savepoint; without
        it there are no savepoints, and what the first such item raises is raised

    Raises
    ------
    StoreError
        If the database is away, or an item is refused without ``refused``.

    """
    for number, one in items:
        if refused is None:
            store_item(one)
            continue
        try:
            with translated_errors(), connection.transaction():
                store_item(one)
        except ForwardingRefusedError as error:
            reason, detail = "federation", str(error)
        except StoreRefusedError as error:
            reason, detail = "store", f"the store refuses it: {error}"
        except StoreError:
            raise
        except Exception as error:  # one item must not end the receiver of all towns
            log.exception("forwarded_item_defect", field=field)
            reason = federation.MISREAD
            detail = f"it can't be stored, by {type(error).__name__}: {error}; report it, with the log"
        else:
            continue
        refused.found.append(ItemRefusal(field, number, reason, detail))

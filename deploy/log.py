"""Logs: one line an event, for a person or for a machine, on standard error.

What others sent is in them as text alone: control characters are written out, long values cut, the queries
of addresses left out, and a line of a library that comes again and again comes so often and no more.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import structlog

from ingest_service.storage.names import printable, printable_values

if TYPE_CHECKING:
    from deploy.settings import Common


LONGEST = 4000  # characters of a value
TRACEBACK = 20_000  # characters of a traceback, which has lines of its own
REPEATS, REPEATS_S = 20, 10.0  # lines of one place in a library within a time
PLACES = 1000  # in libraries whose lines are counted
QUERY = re.compile(r"(/[^\s\"'?]*)\?[^\s\"']*")


class RareEnough(logging.Filter):
    """Lets lines of a library through without their queries, and each place in it so often within a time.

    The queries of addresses have credentials: the ids of the console's pages, for one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: OrderedDict[tuple[str, int], tuple[float, int]] = OrderedDict()  # place -> (since, lines)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        record.msg, record.args = QUERY.sub(r"\1?…", record.getMessage()), ()
        place, now_s = (record.pathname, record.lineno), time.monotonic()
        since_s, lines = self._seen.pop(place, (now_s, 0))
        if now_s - since_s > REPEATS_S:
            if lines > REPEATS:
                record.msg = f"{record.msg} (and {lines - REPEATS} more like it before)"
            since_s, lines = now_s, 0
        self._seen[place] = since_s, lines + 1
        if len(self._seen) > PLACES:
            self._seen.popitem(last=False)
        return lines < REPEATS


def one_line(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A processor: every text of an event on one line, with its control characters written out."""
    kept = ("exc_info", "exception", "_record", "_from_structlog")
    return {
        name: _lines(value)
        if name == "exception"
        else value
        if name in kept
        else printable_values(value, LONGEST)
        for name, value in event.items()
    }


def _lines(told: Any) -> str:
    return "\n".join(printable(line) for line in str(told)[-TRACEBACK:].split("\n"))


def _plain_traceback(sio: Any, exc_info: Any) -> None:
    """A traceback whose message has no control characters."""
    whole = "".join(traceback.format_exception(*exc_info)).rstrip("\n")
    sio.write("\n" + _lines(whole))


def configure(common: Common) -> None:
    """Send structlog's and the standard library's lines the same way."""
    level = logging.getLevelNamesMapping()[common.log_level.upper()]
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[structlog.typing.Processor] = [structlog.stdlib.add_log_level, stamp]
    if common.log_format == "json":
        shared += [structlog.processors.format_exc_info, one_line]
        renderer: structlog.typing.Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        shared.append(one_line)
        # plain: a traceback that shows variables would show keys
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=_plain_traceback
        )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    handler.addFilter(RareEnough())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every request

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

from ingest_service.storage.contract.name_rules import escape_controls, escape_controls_in

if TYPE_CHECKING:
    from deploy.settings import CommonSettings


MAX_VALUE_CHARS = 4000  # characters of a value
MAX_TRACEBACK_CHARS = 20_000  # characters of a traceback, which has lines of its own
MAX_REPEATS, REPEAT_WINDOW_S = 20, 10.0  # lines of one place in a library within a time
MAX_COUNTED_PLACES = 1000  # in libraries whose lines are counted
QUERY_STRING = re.compile(r"(/[^\s\"'?]*)\?[^\s\"']*")


class RepeatLimitFilter(logging.Filter):
    """Lets lines of a library through without their queries, and each place in it so often within a time.

    The queries of addresses have credentials: the ids of the console's pages, for one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._count_by_place: OrderedDict[tuple[str, int], tuple[float, int]] = (
            OrderedDict()
        )  # place -> (since, lines)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        record.msg, record.args = QUERY_STRING.sub(r"\1?…", record.getMessage()), ()
        code_line, now_s = (record.pathname, record.lineno), time.monotonic()
        since_s, lines = self._count_by_place.pop(code_line, (now_s, 0))
        if now_s - since_s > REPEAT_WINDOW_S:
            if lines > MAX_REPEATS:
                record.msg = f"{record.msg} (and {lines - MAX_REPEATS} more like it before)"
            since_s, lines = now_s, 0
        self._count_by_place[code_line] = since_s, lines + 1
        if len(self._count_by_place) > MAX_COUNTED_PLACES:
            self._count_by_place.popitem(last=False)
        return lines < MAX_REPEATS


def escape_values(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """A processor: every text of an event on one line, with its control characters written out."""
    exempt = ("exc_info", "exception", "_record", "_from_structlog")
    return {
        name: _escape_lines(value)
        if name == "exception"
        else value
        if name in exempt
        else escape_controls_in(value, MAX_VALUE_CHARS)
        for name, value in event.items()
    }


def _escape_lines(traceback_text: Any) -> str:
    return "\n".join(escape_controls(line) for line in str(traceback_text)[-MAX_TRACEBACK_CHARS:].split("\n"))


def _plain_traceback(sio: Any, exc_info: Any) -> None:
    """A traceback whose message has no control characters."""
    formatted = "".join(traceback.format_exception(*exc_info)).rstrip("\n")
    sio.write("\n" + _escape_lines(formatted))


def configure(common: CommonSettings) -> None:
    """Send structlog's and the standard library's lines the same way."""
    level = logging.getLevelNamesMapping()[common.log_level.upper()]
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[structlog.typing.Processor] = [structlog.stdlib.add_log_level, stamp]
    if common.log_format == "json":
        shared += [structlog.processors.format_exc_info, escape_values]
        renderer: structlog.typing.Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        shared.append(escape_values)
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
    handler.addFilter(RepeatLimitFilter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every request

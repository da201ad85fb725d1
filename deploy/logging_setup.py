"""Configures structlog and the standard logging: one line per event, as JSON or console text, on stderr.

The extra ``edge`` has no structlog; there the standard logging alone writes the same fields.

Untrusted input is logged as plain text only: control characters are escaped, long values truncated, query
strings of URLs removed, and repeated lines of a library limited in number.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections import OrderedDict
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ingest_service.storage.contract.name_rules import escape_controls, escape_controls_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    import structlog

    from deploy.settings import CommonSettings

MAX_VALUE_CHARS = 4000  # longer values are truncated
MAX_TRACEBACK_CHARS = 20_000  # a traceback keeps its line breaks
MAX_REPEATS, REPEAT_WINDOW_S = 20, 10.0  # lines that one statement of a library may log within a window
MAX_COUNTED_PLACES = 1000  # logging statements whose lines are counted; bounds the memory
QUERY_STRING = re.compile(r"(/[^\s\"'?]*)\?[^\s\"']*")


class RepeatLimitFilter(logging.Filter):
    """Removes query strings from a library's log lines and limits how often one statement logs per window.

    Query strings can contain credentials, such as the signatures of links.
    """

    def __init__(self) -> None:
        super().__init__()
        self._count_by_place: OrderedDict[tuple[str, int], tuple[float, int]] = (
            OrderedDict()
        )  # (file, line) -> (start of the window [s], lines logged in it)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written."""
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
    """Escape control characters in all values of an event, so that it is one line (structlog processor)."""
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
    """Write a traceback with the control characters of its message escaped."""
    formatted = "".join(traceback.format_exception(*exc_info)).rstrip("\n")
    sio.write("\n" + _escape_lines(formatted))


def configure(common: CommonSettings) -> None:
    """Configure structlog and the standard library's logging to write the same format to stderr."""
    level = logging.getLevelNamesMapping()[common.log_level.upper()]
    if find_spec("structlog") is None:
        formatter: logging.Formatter = StandardFormatter(as_json=common.log_format == "json")
    else:
        formatter = _configure_structlog(common, level)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(RepeatLimitFilter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs every request


class StandardFormatter(logging.Formatter):
    """Formats a line with the fields that structlog writes: time stamp, level and event."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the traceback if there is one, with control characters escaped."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z"
        event = escape_controls(record.getMessage(), MAX_VALUE_CHARS)
        level = record.levelname.lower()
        trace = _escape_lines(self.formatException(record.exc_info)) if record.exc_info else ""
        if not self._as_json:
            return f"{stamp} [{level:<9}] {event}" + (f"\n{trace}" if trace else "")
        fields = {
            "event": event,
            "level": level,
            "timestamp": stamp,
            **({"exception": trace} if trace else {}),
        }
        return json.dumps(fields, ensure_ascii=False)


@contextmanager
def _without_rich() -> Iterator[None]:
    """Keep structlog from importing rich for tracebacks that are not used here.

    That would take as long as importing structlog itself, and 4 MB.
    """
    hidden = {"rich"}.difference(sys.modules)
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # an import of it raises ImportError
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _configure_structlog(common: CommonSettings, level: int) -> logging.Formatter:
    """Configure structlog; return the formatter that gives lines of the standard logging the same form."""
    with _without_rich():
        import structlog  # noqa: PLC0415 - the extra `edge` does not have it

    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[structlog.typing.Processor] = [structlog.stdlib.add_log_level, stamp]
    if common.log_format == "json":
        shared += [structlog.processors.format_exc_info, escape_values]
        renderer: structlog.typing.Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        shared.append(escape_values)
        # a plain traceback: one that shows local variables would leak API keys
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=_plain_traceback
        )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # one write a line: `print` writes the line break apart, and another thread's line may come between
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    return structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared)

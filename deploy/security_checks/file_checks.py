"""Checks files with secrets, certificates, and the command lines of processes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploy.security_checks.finding import SecurityReport

# Read by others, or changed by the group or others: a group may read what root gives to a process.
FOREIGN_ACCESS = 0o027
ENTERED_BY_OTHERS = 0o001
CERTIFICATE_DAYS, AUTHORITY_DAYS = timedelta(days=30), timedelta(days=365)
PASSWORD_IN_URL = re.compile(rb"://[^/@:\0]*:[^@/\0]+@")


def check_secret_files(report: SecurityReport, paths: Iterable[Path]) -> None:
    """Find files that other users of this machine can reach, and read or change."""
    for path in paths:
        try:
            is_open = path.stat().st_mode & FOREIGN_ACCESS
            is_reached = all(one.stat().st_mode & ENTERED_BY_OTHERS for one in path.resolve().parents)
        except (FileNotFoundError, PermissionError):  # in a folder that others can't enter
            continue
        except OSError as error:
            report.add_unchecked(str(path), str(error.strerror))
            continue
        if is_open and is_reached:
            report.add("file_readable", f"{path} ({path.stat().st_mode & 0o777:04o})")


def check_certificates(
    report: SecurityReport,
    certificates: Iterable[Path],
    authorities: Iterable[Path],
    now: datetime | None = None,
) -> None:
    """Find certificates that end soon; those of authorities a year before."""
    now = now or datetime.now(UTC)
    for kind, paths, days in (
        ("certificate_ends", certificates, CERTIFICATE_DAYS),
        ("authority_ends", authorities, AUTHORITY_DAYS),
    ):
        for path in paths:
            try:
                ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
            except FileNotFoundError:  # of a process that is not set up
                continue
            except (OSError, ValueError) as error:
                report.add_unchecked(str(path), str(error))
                continue
            if ends - now < days:
                report.add(kind, str(path))


def check_command_lines(report: SecurityReport, process_ids: Iterable[int]) -> None:
    """Find processes of this machine with an address on their command line that has a password."""
    for pid in process_ids:
        try:
            command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:  # it has ended, or the system has no /proc
            continue
        if PASSWORD_IN_URL.search(command_line):
            report.add("password_in_command", str(pid))

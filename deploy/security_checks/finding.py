"""Defines what a security check finds: the weakness, why it is one, and what to do, in both languages."""

from __future__ import annotations

from importlib.resources import files

import msgspec

from ingest_service.storage.health.process_messages import (
    BilingualText,  # noqa: TC001 - msgspec reads the annotations
)


class WeaknessTexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Texts of one kind of weakness; ``{subject}`` is replaced by what was found."""

    weakness: BilingualText
    reason: BilingualText
    remedy: BilingualText


TEXTS = msgspec.toml.decode(
    files("deploy.security_checks").joinpath("texts.toml").read_text("utf-8"), type=dict[str, WeaknessTexts]
)


class SecurityFinding(msgspec.Struct, frozen=True):
    """A weakness of an installation; ``kind`` is a key of `TEXTS`, ``subject`` names what has it."""

    kind: str
    subject: str

    def weakness(self, language: str) -> str:
        """Return what is weak; ``language`` is ``en`` or ``zh``."""
        return str(getattr(TEXTS[self.kind].weakness, language)).format(subject=self.subject)

    def reason(self, language: str) -> str:
        """Return why that is a weakness."""
        return str(getattr(TEXTS[self.kind].reason, language))

    def remedy(self, language: str) -> str:
        """Return what to do."""
        return str(getattr(TEXTS[self.kind].remedy, language))


class UncheckedPart(msgspec.Struct, frozen=True):
    """A part of the installation that could not be checked, and why (of an error: in English)."""

    part: str
    error: str


class SecurityReport(msgspec.Struct, frozen=True):
    """What all checks found."""

    findings: list[SecurityFinding] = msgspec.field(default_factory=list)
    unchecked: list[UncheckedPart] = msgspec.field(default_factory=list)

    def add(self, kind: str, *subjects: str) -> None:
        """Add a weakness of each subject, once."""
        for one in subjects:
            if (found := SecurityFinding(kind, one)) not in self.findings:
                self.findings.append(found)

    def add_unchecked(self, part: str, error: str) -> None:
        """Note a part that could not be checked, once."""
        if (found := UncheckedPart(part, error)) not in self.unchecked:
            self.unchecked.append(found)

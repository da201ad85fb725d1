"""Stores enrolment codes, proposals of devices, and the state of their access to the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from psycopg.types.json import Jsonb

from ingest_service.storage.postgres import read_rows, row_level_security, write_batch
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.store import Database

Credential = Literal["password", "certificate"]
EnrolmentState = Literal["proposed", "confirmed", "rejected", "revoked"]
AccessState = Literal["none", "pending", "granted", "withdrawn"]


class EnrolmentCode(msgspec.Struct, frozen=True, kw_only=True):
    """A code with which technicians propose devices of an area; its secret is stored as SHA-256."""

    code_id: str
    hash: str
    area_id: str
    devices: int
    created_by: str
    expires_s: float
    proposals: int = 0
    created_s: float = 0.0
    revoked_s: float | None = None


class ProposedChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel as a device proposes it, with a sample of its values."""

    name: str
    unit: str | None = None
    value: float | None = None


class NewProposal(msgspec.Struct, frozen=True, kw_only=True):
    """What a device proposes of itself; ``request`` is its certificate signing request (PEM)."""

    device_id: str
    credential: Credential
    token_hash: str
    request: str | None
    channels: list[ProposedChannel]
    agent: str
    address: str


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """The enrolment of a device, from its proposal to its revocation.

    ``access`` is the state of its access to the broker, ``access_error`` why it is still pending.
    """

    enrolment_id: int
    code_id: str | None
    area_id: str
    device_id: str
    state: EnrolmentState
    credential: Credential
    token_hash: str | None
    request: str | None
    certificate: str | None
    channels: list[ProposedChannel]
    agent: str
    address: str
    proposed_s: float
    decided_s: float | None
    decided_by: str | None
    note: str
    access: AccessState
    access_error: str


class PendingAccess(msgspec.Struct, frozen=True, kw_only=True):
    """An enrolment that the broker does not know yet."""

    enrolment_id: int
    area_id: str
    device_id: str
    state: EnrolmentState
    credential: Credential
    request: str | None = None
    password: str | None = None


class DueCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A device whose certificate has to be renewed: its signing request, and the certificate (both PEM)."""

    enrolment_id: int
    area_id: str
    device_id: str
    request: str
    certificate: str


class EndingCertificate(msgspec.Struct, frozen=True):
    """A device, and when the certificate that it holds ends, Unix time [s]."""

    device_id: str
    ends_s: float


class EnrolmentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of enrolments, newest first."""

    enrolment_id: int | None = None
    areas: list[str] | None = None
    state: EnrolmentState | None = None
    device_id: str | None = None
    before_id: int | None = None
    limit: int = 100


class ProposalOutcome(msgspec.Struct, frozen=True):
    """The id of an accepted proposal; or why there is none: ``code``, ``area`` or ``device``."""

    enrolment_id: int | None = None
    reason: Literal["", "code", "area", "device"] = ""


class EnrolmentStore:
    """Enrolments in the database. Methods raise the errors of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database.for_area(row_level_security.ALL_AREAS)

    # -- codes -----------------------------------------------------------------------------------

    def create_code(self, code: EnrolmentCode) -> None:
        """Insert a code."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["enrolment_code_insert"], msgspec.structs.asdict(code))

    def codes(self, areas: Sequence[str] | None = None) -> list[EnrolmentCode]:
        """Return the codes of some areas, newest first; of all areas if ``areas`` is None."""
        return self._codes(None, areas)

    def code(self, code_id: str) -> EnrolmentCode | None:
        """Return a code by id; None if there is no such code."""
        return next(iter(self._codes(code_id, None)), None)

    def revoke_code(self, code_id: str) -> bool:
        """Revoke a code; returns False if it was revoked before."""
        with self._database.transaction() as connection:
            return bool(connection.execute(QUERIES["enrolment_code_revoke"], {"code_id": code_id}).rowcount)

    def _codes(self, code_id: str | None, areas: Sequence[str] | None) -> list[EnrolmentCode]:
        parameters = {"code_id": code_id, "areas": None if areas is None else list(areas)}
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "enrolment_codes", parameters, EnrolmentCode)

    # -- proposals and decisions -----------------------------------------------------------------

    def propose(self, code: EnrolmentCode, proposal: NewProposal) -> ProposalOutcome:
        """Insert a proposal with a code, which it uses up by one.

        It is refused if the code is not valid any more, if the device is enrolled in another area, or if it
        has a proposal or an enrolment already.
        """
        row = msgspec.structs.asdict(proposal) | {"code_id": code.code_id, "area_id": code.area_id}
        row["channels"] = Jsonb(msgspec.to_builtins(proposal.channels))
        use = {"code_id": code.code_id, "hash": code.hash}
        with self._database.transaction() as connection:
            connection.execute(QUERIES["enrolment_forget_old"])
            enrolled = connection.execute(QUERIES["device_area"], (proposal.device_id,)).fetchone()
            if enrolled is not None and enrolled[0] != code.area_id:
                return ProposalOutcome(reason="area")
            inserted = connection.execute(QUERIES["enrolment_insert"], row).fetchone()
            if inserted is None:
                return ProposalOutcome(reason="device")
            if not connection.execute(QUERIES["enrolment_code_use"], use).rowcount:
                connection.rollback()
                return ProposalOutcome(reason="code")
            return ProposalOutcome(int(inserted[0]))

    def enrolments(self, query: EnrolmentQuery) -> list[Enrolment]:
        """Return enrolments, newest first."""
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "enrolments", msgspec.structs.asdict(query), Enrolment)

    def enrolment(self, enrolment_id: int) -> Enrolment | None:
        """Return an enrolment by id; None if there is no such one."""
        return next(iter(self.enrolments(EnrolmentQuery(enrolment_id=enrolment_id))), None)

    def confirm(self, enrolment_id: int, directory: Directory, *, who: str, note: str) -> bool:
        """Confirm a proposal and enrol its device, all or nothing; False if it is no proposal any more."""
        with self._database.transaction() as connection:
            row = {"enrolment_id": enrolment_id, "state": "confirmed", "from": ["proposed"]}
            if not connection.execute(QUERIES["enrolment_decide"], row | {"who": who, "note": note}).rowcount:
                return False
            if write_batch.enrol_directory(connection, directory):
                connection.execute(QUERIES["directory_changed"])
            return True

    def reject(self, enrolment_id: int, *, who: str, note: str) -> bool:
        """Reject a proposal; False if it is none any more."""
        return self._decide(enrolment_id, "rejected", ["proposed"], who, note)

    def revoke(self, enrolment_id: int, *, who: str, note: str) -> bool:
        """Revoke a confirmed enrolment, so that its access is withdrawn; False if it is not confirmed."""
        return self._decide(enrolment_id, "revoked", ["confirmed"], who, note)

    def deliver_password(self, enrolment_id: int, password: str) -> bool:
        """Store the password of a confirmed device until the broker has it; False if it is not confirmed."""
        row = {"enrolment_id": enrolment_id, "password": password}
        with self._database.transaction() as connection:
            return bool(connection.execute(QUERIES["enrolment_password"], row).rowcount)

    def add_confirmed(self, devices: Sequence[tuple[str, str, str]], *, who: str) -> list[str]:
        """Insert confirmed enrolments (area, device, password); return the devices that have one already."""
        taken = []
        with self._database.transaction() as connection:
            for area_id, device_id, password in devices:
                row = {"area_id": area_id, "device_id": device_id, "password": password, "who": who}
                if connection.execute(QUERIES["enrolment_insert_confirmed"], row).fetchone() is None:
                    taken.append(device_id)
        return taken

    def _decide(self, enrolment_id: int, state: str, states: list[str], who: str, note: str) -> bool:
        row = {"enrolment_id": enrolment_id, "state": state, "from": states, "who": who, "note": note}
        with self._database.transaction() as connection:
            return bool(connection.execute(QUERIES["enrolment_decide"], row).rowcount)

    # -- access to the broker --------------------------------------------------------------------

    def pending(self, limit: int = 500) -> list[PendingAccess]:
        """Return the enrolments that the broker does not know yet, oldest first."""
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "enrolments_pending", {"limit": limit}, PendingAccess)

    def should_have_access(self) -> list[PendingAccess]:
        """Return the enrolments that have access, as the broker should have them."""
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["enrolments_granted"]).fetchall()
        return [
            PendingAccess(
                enrolment_id=number, area_id=area, device_id=device, state="confirmed", credential=credential
            )
            for number, area, device, credential in rows
        ]

    def record_granted(
        self, one: PendingAccess, certificate: str | None, ends_s: float | None = None
    ) -> bool:
        """Record that the broker has a device's access; False if the password changed meanwhile.

        Parameters
        ----------
        certificate : PEM, that was issued for it; None if there is no new one
        ends_s : when that ends, Unix time [s]

        """
        row = {"enrolment_id": one.enrolment_id, "password": one.password, "certificate": certificate}
        return self._execute("enrolment_granted", row | {"ends_s": ends_s})

    # -- certificates ----------------------------------------------------------------------------

    def certificates_due(self, before_s: float, limit: int = 100) -> list[DueCertificate]:
        """Return devices whose certificate ends before a time [s], or is of unknown end."""
        row = {"before_s": before_s, "limit": limit}
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "enrolment_certificates_due", row, DueCertificate)

    def record_renewed(
        self, enrolment_id: int, certificate: str, *, ends_s: float, held_ends_s: float
    ) -> bool:
        """Replace a certificate; ``held_ends_s`` is the end of the old one, which the device still holds."""
        row = {"enrolment_id": enrolment_id, "certificate": certificate}
        return self._execute("enrolment_renewed", row | {"ends_s": ends_s, "held_ends_s": held_ends_s})

    def record_collected(self, enrolment_id: int) -> bool:
        """Record that a device has collected its newest certificate; False if it had before."""
        return self._execute("enrolment_collected", {"enrolment_id": enrolment_id})

    def certificates_ending(self, before_s: float) -> list[EndingCertificate]:
        """Return the devices whose own certificate ends before a time [s]."""
        row = {"before_s": before_s}
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(
                connection, "enrolment_certificates_ending", row, EndingCertificate
            )

    # -- other states of access ------------------------------------------------------------------

    def record_withdrawn(self, enrolment_id: int) -> bool:
        """Record that the broker has no access of a revoked device any more."""
        return self._execute("enrolment_withdrawn", {"enrolment_id": enrolment_id})

    def record_failed(self, enrolment_id: int, error: str) -> bool:
        """Record why the access of a device is still pending."""
        return self._execute("enrolment_failed", {"enrolment_id": enrolment_id, "error": error})

    def record_lost(self, enrolment_id: int, error: str) -> bool:
        """Record that the broker has lost the access of a device; a password has to be delivered again."""
        return self._execute("enrolment_lost", {"enrolment_id": enrolment_id, "error": error})

    def _execute(self, query: str, row: dict[str, Any]) -> bool:
        with self._database.transaction() as connection:
            return bool(connection.execute(QUERIES[query], row).rowcount)

"""Passes decisions on devices on to the broker, and keeps the broker's users as the database has them.

The gateway, which faces the network, writes decisions to the database; this process alone has the broker's
administrator and the authority's key. A decision that the broker does not take stays pending, with why.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from deploy.device_access.broker_access import BrokerAccessError, DeviceAccess
from deploy.device_access.certificate_authority import CertificateError, end_of
from ingest_service.storage.contract.errors import StoreUnavailableError
from ingest_service.storage.health.heartbeat_thread import ProgressRecorder

if TYPE_CHECKING:
    import threading

    from deploy.device_access.broker_access import BrokerAccess
    from deploy.device_access.certificate_authority import CertificateAuthority
    from deploy.device_access.settings import Settings
    from ingest_service.storage.postgres.enrolments import EnrolmentStore, PendingAccess

log = logging.getLogger(__name__)

MAX_ERROR_CHARS = 500
DAY_S = 86_400.0
LOST = "the broker has lost this device: revoke its enrolment, and enrol it again"


class AccessProcess:
    """Applies enrolments at a broker.

    Parameters
    ----------
    enrolments : of the database
    broker : adapter of the broker
    authority : signs certificates; None if devices get passwords only
    progress : of this process, for its heartbeat; None if it has none

    """

    def __init__(
        self,
        enrolments: EnrolmentStore,
        broker: BrokerAccess,
        authority: CertificateAuthority | None,
        settings: Settings,
        progress: ProgressRecorder | None = None,
    ) -> None:
        self._enrolments = enrolments
        self._broker = broker
        self._authority = authority
        self._settings = settings
        self._progress = progress or ProgressRecorder()

    def run(self, stop: threading.Event) -> None:
        """Apply decisions until a stop; while the database or the broker is away, try again."""
        compare_at_s = 0.0
        self._progress.role = "owner"
        while not stop.is_set():
            try:
                if time.monotonic() >= compare_at_s:
                    self.compare()
                    self.renew_certificates(time.time())
                    compare_at_s = time.monotonic() + self._settings.compare_s
                self.apply_pending()
                self._progress.loop_advanced()
                self._progress.work_succeeded()
            except (StoreUnavailableError, BrokerAccessError) as error:
                is_broker = isinstance(error, BrokerAccessError)
                self._progress.waiting_for("administration" if is_broker else "database")
                log.warning("access of devices is not up to date: %s", error)
            stop.wait(self._settings.poll_s)

    def apply_pending(self) -> None:
        """Apply what is pending, revocations first; one that fails keeps no other from being applied."""
        pending = self._enrolments.pending()
        for one in sorted(pending, key=lambda one: one.state != "revoked"):
            try:
                self._apply(one)
            except (BrokerAccessError, CertificateError) as error:
                log.error("device %s/%s: %s", one.area_id, one.device_id, error)  # noqa: TRY400 - complete without it
                self._enrolments.record_failed(one.enrolment_id, str(error)[:MAX_ERROR_CHARS])

    def compare(self) -> None:
        """Withdraw access that the database does not have, and note what the broker has lost.

        Raises
        ------
        BrokerAccessError, StoreError
            Where they can't be compared.

        """
        granted = self._broker.granted()
        entitled = {one.device_id: one for one in self._enrolments.should_have_access()}
        waiting = {one.device_id for one in self._enrolments.pending()}
        surplus = sorted(granted - entitled.keys() - waiting)
        if surplus:
            log.warning("withdrawing access that no enrolment has: %s", ", ".join(surplus))
            self._broker.revoke(surplus)
        for device in sorted(entitled.keys() - granted):
            log.warning("device %s: %s", device, LOST)
            self._enrolments.record_lost(entitled[device].enrolment_id, LOST)

    def renew_certificates(self, now_s: float) -> None:
        """Issue certificates that end soon anew, for the same key; devices collect them at the gateway.

        Without an authority none is renewed: the service reports those that end. Raises `StoreError`.
        """
        if self._authority is None:
            return
        for one in self._enrolments.certificates_due(now_s + self._settings.renew_days * DAY_S):
            try:
                held_ends_s = end_of(one.certificate.encode())
                renewed = self._authority.sign_request(one.request.encode(), one.device_id)
            except ValueError as error:  # of `CertificateError`, too
                log.error("certificate of device %s/%s: %s", one.area_id, one.device_id, error)  # noqa: TRY400
                continue
            if self._enrolments.record_renewed(
                one.enrolment_id, renewed.decode(), ends_s=end_of(renewed), held_ends_s=held_ends_s
            ):
                log.info("certificate of device %s/%s is renewed", one.area_id, one.device_id)

    def _apply(self, one: PendingAccess) -> None:
        if one.state == "revoked":
            self._broker.revoke([one.device_id])
            self._enrolments.record_withdrawn(one.enrolment_id)
            log.info("device %s/%s: access withdrawn", one.area_id, one.device_id)
            return
        certificate = None
        if one.credential == "certificate":
            certificate = self._sign(one)
        self._broker.grant([DeviceAccess(one.area_id, one.device_id, one.password)])
        ends_s = None if certificate is None else end_of(certificate.encode())
        if self._enrolments.record_granted(one, certificate, ends_s):
            log.info("device %s/%s: access granted", one.area_id, one.device_id)

    def _sign(self, one: PendingAccess) -> str:
        if self._authority is None:
            raise CertificateError(
                "there is no authority to sign its certificate: start `towntwin access` with --authority"
            )
        return self._authority.sign_request((one.request or "").encode(), one.device_id).decode()

"""Settings of `towntwin edge enrol`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class EnrolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the enrolment of a device."""

    credential: Annotated[
        Literal["password", "certificate"],
        Meta(description="What the device makes: a password, or a key with a certificate signing request."),
    ] = "password"
    sample_s: Annotated[
        float,
        Meta(description="How long the drivers run for a sample of each channel.", extra={"unit": "s"}, ge=0),
    ] = 10.0
    wait_s: Annotated[
        float,
        Meta(
            description="How long to wait for the operator; run it again to go on.", extra={"unit": "s"}, ge=0
        ),
    ] = 3600.0
    server_ca: Annotated[
        str | None, Meta(description="Certificate of the authority (PEM) of the platform's https address.")
    ] = None

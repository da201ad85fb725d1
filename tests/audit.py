"""Writes the bill of materials and the licences of the pinned requirements; looks for vulnerabilities.

Run by ``make audit``, after ``requirements/run.txt`` was installed. The bill of materials (CycloneDX) and the
list of licences are made offline; vulnerabilities need a source of advisories (OSV), or a mirror of one.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY = Path(__file__).parents[1]
PINNED = REPOSITORY / "requirements/run.txt"
FOUND, NOT_CHECKED = 1, 3
UNKNOWN = "unknown"
READ_LICENCES = {"verlib2": "BSD-3-Clause"}  # read in their files, as their metadata state none
NOT_INSTALLED = "not installed on this platform"
STRONG_COPYLEFT = ("AGPL", "GPL")  # of what is linked into the product; LGPL and exceptions are no obstacle
AUDIT_S = 300.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Write ``sbom.json`` and ``licences.csv``; return 0, 1 (a finding) or 3 (not checked)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--into", type=Path, default=REPOSITORY / "build/audit", help="folder of the results")
    parser.add_argument("--advisories", metavar="URL", help="address of a mirror of OSV's query API")
    args = parser.parse_args(arguments)
    args.into.mkdir(parents=True, exist_ok=True)
    bill = _bill_of_materials()
    problems = _add_licences(bill, args.into / "licences.csv")
    (args.into / "sbom.json").write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n", "utf-8")
    print(f"{args.into / 'sbom.json'}: {len(bill['components'])} components")
    vulnerabilities, reason = _vulnerabilities(args.advisories)
    problems += vulnerabilities
    for one in problems:
        print(f"FOUND {one}")
    if reason:
        print(
            f"NOT CHECKED known vulnerabilities, all or in part ({reason}): run it again"
            " with a network, or name a mirror by --advisories"
        )
    return FOUND if problems else NOT_CHECKED if reason else 0


def _bill_of_materials() -> dict[str, Any]:
    """Return the CycloneDX document of the pinned requirements, with their hashes."""
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(PINNED), "--short-PURLs"]
    command += ["--pyproject", str(REPOSITORY / "pyproject.toml"), "--output-reproducible", "--of", "JSON"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    bill: dict[str, Any] = json.loads(done.stdout)
    return bill


def _add_licences(bill: dict[str, Any], path: Path) -> list[str]:
    """Add the licence of each component, as its installed package states it, and list them; return problems.

    Raises `ValueError` if the document is no CycloneDX any more.
    """
    rows, problems = [], []
    for one in bill["components"]:
        licence = licence_of(one["name"])
        rows.append((one["name"], one["version"], licence))
        if licence == UNKNOWN:
            problems.append(f"{one['name']}: states no licence: look for it, and at whether it may be used")
        elif licence != NOT_INSTALLED:
            one["licenses"] = [{"license": {"name": licence}}]
            words = licence.upper().replace("LGPL", "").replace("LESSER GENERAL PUBLIC", "")
            if any(name in words for name in STRONG_COPYLEFT) and " OR " not in words:
                problems.append(
                    f"{one['name']}: {licence}: may not be linked into a product under Apache-2.0"
                )
    error = JsonStrictValidator(SchemaVersion.from_version(bill["specVersion"])).validate_str(
        json.dumps(bill)
    )
    if error is not None:
        raise ValueError(f"the bill of materials is not valid: {error}")
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("package", "version", "licence"), *sorted(rows)])
    return problems


def licence_of(package: str) -> str:
    """Return the licence of an installed package, by its expression, classifiers or field."""
    try:
        fields = metadata.metadata(package).json
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED
    classifiers = [
        str(one).rpartition(" :: ")[2] for one in fields.get("classifier", []) if "License ::" in str(one)
    ]
    named = " OR ".join(one for one in classifiers if one != "OSI Approved")
    expression, field = (str(fields.get(name, "")) for name in ("license_expression", "license"))
    return expression or named or field.strip().partition("\n")[0] or READ_LICENCES.get(package, UNKNOWN)


def _vulnerabilities(advisories: str | None) -> tuple[list[str], str]:
    """Return the known vulnerabilities, and why they could not be looked for; empty if they were."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(PINNED), "--require-hashes"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    command += ["--vulnerability-service", "osv", *(["--osv-url", advisories] if advisories else [])]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=AUDIT_S)
    except subprocess.TimeoutExpired:
        return [], f"no answer within {AUDIT_S:.0f} s"
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return [], (done.stderr.strip().splitlines() or ["no answer"])[-1][:200]
    return known_vulnerabilities(dependencies)


def known_vulnerabilities(dependencies: Sequence[dict[str, Any]]) -> tuple[list[str], str]:
    """Return the vulnerabilities of pip-audit's dependencies, and which ones it skipped; empty if none."""
    found = [
        f"{one['name']} {one['version']}: {known['id']}, fixed in"
        f" {', '.join(known['fix_versions']) or 'no version'}"
        for one in dependencies
        for known in one.get("vulns", [])
    ]
    skipped = [f"{one['name']}: {one['skip_reason']}" for one in dependencies if "skip_reason" in one]
    return found, f"{len(skipped)} packages were skipped, {skipped[0]}" if skipped else ""


if __name__ == "__main__":
    sys.exit(main())

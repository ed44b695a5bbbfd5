"""Bills of materials of a release: CycloneDX 1.6, SPDX 2.3, and a table for spreadsheets.

Reproducible: no time but the release's, and a serial number made from the content. The documents
are written here directly, because building 150 components as cyclonedx-python-lib's objects takes a
quarter of a second; the tests read them back with that library and its official schemas.

Sources: CycloneDX 1.6 JSON schema; SPDX 2.3 JSON schema; purl-spec, "conda".
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote
from uuid import UUID

from repack.codec.canonical import canonical, encode_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repack.advisories.document import Finding
    from repack.report.document import Report, ReportBundle, ReportPackage

Document = dict[str, Any]
_URL: Final = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]+\Z")
_REFERENCE: Final = re.compile(r"LicenseRef-[A-Za-z0-9.-]+")
_COLUMNS: Final = (
    *("name", "version", "build", "platform", "bytes", "licence", "licence_verdict", "source"),
    *("hot_fixed", "scripts", "status", "why", "sha256"),
)


def purl(package: ReportPackage) -> str:
    """The package URL, ``pkg:conda/numpy@2.3.5?build=py311_0&subdir=linux-64&type=conda``."""
    form = "conda" if package.path.endswith(".conda") else "tar.bz2"
    parts = {"build": package.build, "subdir": package.subdir, "type": form}
    # A path of the machine that built says nothing to others, and should not reach them.
    if package.source and not package.source.startswith("file:"):
        parts["channel"] = package.source
    qualifiers = "&".join(f"{key}={quote(value, safe='')}" for key, value in sorted(parts.items()))
    name, version = quote(package.name.lower(), safe=""), quote(package.version, safe="")
    return f"pkg:conda/{name}@{version}?{qualifiers}"


def cyclonedx(report: Report) -> bytes:
    """The release as CycloneDX."""
    top = f"{report.label}@{report.release}"
    bundles = {bundle.path: bundle for bundle in report.bundles}
    document: Document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": report.date,
            "tools": {
                "components": [{"type": "application", "name": "repack", "version": report.repack}]
            },
            "component": {
                "type": "application",
                "bom-ref": top,
                "name": report.label,
                "version": str(report.release),
                **({"description": report.description} if report.description else {}),
            },
        },
        "components": [
            _component(package, bundles.get(package.path)) for package in report.packages
        ],
        "dependencies": [
            {"ref": top, "dependsOn": _asked_for(report)},
            *(
                {
                    "ref": package.path,
                    **({"dependsOn": list(package.depends)} if package.depends else {}),
                }
                for package in report.packages
            ),
        ],
    }
    if report.advisories is not None and report.advisories.findings:
        document["vulnerabilities"] = [_vulnerability(row) for row in report.advisories.findings]
    document["serialNumber"] = f"urn:uuid:{_serial(document)}"
    return encode_rows(document)


def spdx(report: Report) -> bytes:
    """The release as SPDX."""
    ids = {package.path: f"SPDXRef-Package-{n}" for n, package in enumerate(report.packages)}
    packages = [_spdx_package(package, ids[package.path]) for package in report.packages]
    references = sorted(
        {ref for row in packages for ref in _REFERENCE.findall(row["licenseDeclared"])}
    )
    document: Document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{report.label}-{report.release}",
        "creationInfo": {"created": report.date, "creators": [f"Tool: repack-{report.repack}"]},
        "packages": packages,
        "relationships": [
            *(_related("SPDXRef-DOCUMENT", "DESCRIBES", ids[path]) for path in _asked_for(report)),
            *(
                _related(ids[package.path], "DEPENDS_ON", ids[path])
                for package in report.packages
                for path in package.depends
            ),
        ],
    }
    if references:
        document["hasExtractedLicensingInfos"] = [
            {"licenseId": reference, "extractedText": "See the package itself."}
            for reference in references
        ]
    document["documentNamespace"] = f"urn:uuid:{_serial(document)}"
    return encode_rows(document)


def table(report: Report) -> bytes:
    """One line a package, for a spreadsheet."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(_COLUMNS)
    for package in report.packages:
        ways = {" > ".join(way): None for way in package.why.values()}
        row = [
            *(
                package.name,
                package.version,
                package.build,
                package.subdir,
                package.size,
                package.licence,
            ),
            *(
                package.licence_verdict,
                package.source,
                " ".join(package.hotfixed),
                " ".join(package.scripts),
            ),
            *(package.status, "; ".join(ways), package.sha256),
        ]
        writer.writerow([_inert(cell) for cell in row])
    return stream.getvalue().encode()


def _inert(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    risky = isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t"))
    return f"'{cell}" if risky else cell


def _asked_for(report: Report) -> list[str]:
    return [
        package.path
        for package in report.packages
        if any(len(way) == 1 for way in package.why.values()) or package.kind != "upstream"
    ]


def _component(package: ReportPackage, bundle: ReportBundle | None) -> Document:
    hashes = [{"alg": "SHA-256", "content": package.sha256}]
    if package.sha384:
        hashes.append({"alg": "SHA-384", "content": package.sha384})
    component: Document = {
        "type": "library" if bundle is None else "data",
        "bom-ref": package.path,
        "name": package.name,
        "version": package.version,
        "purl": purl(package),
        "hashes": hashes,
        "properties": list(_properties(package)),
    }
    if package.summary:
        component["description"] = package.summary
    if package.licence:
        component["licenses"] = [_licence(package)]
    if references := list(_links(package)):
        component["externalReferences"] = references
    if package.purls:
        # A component has one package URL. Scanners look for vulnerabilities in those of PyPI, and
        # read components of components.
        component["components"] = [
            {
                "type": "library",
                "bom-ref": f"{package.path}#{url}",
                "name": unquote(url.partition("/")[2].partition("@")[0]),
                "version": unquote(url.partition("@")[2]),
                "purl": url,
            }
            for url in package.purls
        ]
    if bundle is not None:
        component["data"] = [{"type": "dataset", "name": bundle.name}]
        component["components"] = [
            {
                "type": "file",
                "bom-ref": f"{package.path}#{file.path}",
                "name": file.path,
                "hashes": [{"alg": "SHA-256", "content": file.sha256}],
            }
            for file in bundle.files
        ]
    return component


def _vulnerability(finding: Finding) -> Document:
    row: Document = {
        "bom-ref": f"{finding.id}#{finding.package}",
        "id": finding.id,
        "ratings": [{"severity": finding.severity}],
        "affects": [{"ref": finding.package}],
    }
    if finding.aliases:
        row["references"] = [
            {"id": alias, "source": {"name": alias.partition("-")[0]}} for alias in finding.aliases
        ]
    if finding.summary:
        row["description"] = finding.summary
    if finding.fixed:
        row["recommendation"] = f"Update {finding.name} to {finding.fixed}"
    if finding.accepted_until:
        detail = f"accepted until {finding.accepted_until}: {finding.why_accepted}"
        row["analysis"] = {"response": ["will_not_fix"], "detail": detail}
    return row


def _licence(package: ReportPackage) -> Document:
    if not package.licence_is_spdx:
        return {"license": {"name": package.licence, "acknowledgement": "declared"}}
    return {"expression": package.licence, "acknowledgement": "declared"}


def _properties(package: ReportPackage) -> Iterator[Document]:
    yield {"name": "repack:path", "value": package.path}
    yield {"name": "repack:size", "value": str(package.size)}
    if package.hotfixed:
        yield {"name": "repack:hot-fixed", "value": " ".join(package.hotfixed)}
    for script in package.scripts:
        yield {"name": "repack:script", "value": script}


def _links(package: ReportPackage) -> Iterator[Document]:
    if _URL.match(package.home):
        yield {"type": "website", "url": package.home}
    if _URL.match(package.source):
        yield {"type": "distribution", "url": package.source}


def _spdx_package(package: ReportPackage, identifier: str) -> Document:
    checksums = [{"algorithm": "SHA256", "checksumValue": package.sha256}]
    if package.sha384:
        checksums.append({"algorithm": "SHA384", "checksumValue": package.sha384})
    return {
        "SPDXID": identifier,
        "name": package.name,
        "versionInfo": package.version,
        "packageFileName": package.path,
        "downloadLocation": package.source if _URL.match(package.source) else "NOASSERTION",
        "filesAnalyzed": False,
        "checksums": checksums,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": package.licence if package.licence_is_spdx else "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": url,
            }
            for url in (purl(package), *package.purls)
        ],
    }


def _related(element: str, relationship: str, related: str) -> Document:
    return {
        "spdxElementId": element,
        "relationshipType": relationship,
        "relatedSpdxElement": related,
    }


def _serial(document: Document) -> UUID:
    return UUID(bytes=hashlib.sha256(canonical(document)).digest()[:16], version=5)

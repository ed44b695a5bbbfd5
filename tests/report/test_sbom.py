"""Bills of materials, judged by cyclonedx-python-lib with the official schema."""

from __future__ import annotations

import csv
import io
import json

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from repack.report.sbom import cyclonedx, purl, spdx, table
from tests.reports import SCRIPT, package, report

ODD = package(
    "odd",
    path="noarch/odd-1!2.0+x-0.tar.bz2",
    version="1!2.0+x",
    licence=SCRIPT,
    licence_is_spdx=False,
    licence_verdict="unknown",
    home="javascript:alert(1)",
    source="file:///srv/my channel",
    sha384=None,
    summary='=HYPERLINK("x")',
    scripts=("post-link: bin/.odd-post-link.sh",),
    hotfixed=("depends",),
    why={"linux-64": ("a", "odd")},
)
BUNDLE = package(
    "halkbank-models", path="noarch/m-1-0.conda", kind="bundle", source="", licence="",
    licence_is_spdx=False,
)  # fmt: skip
TOLD = report(
    package("a", depends=(ODD.path,), licence="MIT OR LicenseRef-Mine"), ODD, BUNDLE, package("b")
)


def test_cyclonedx_is_valid_and_says_all():
    data = cyclonedx(TOLD).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data) is None
    bom = Bom.from_json(json.loads(data))
    assert bom.metadata.component.name == "halkbank"
    parts = {part.bom_ref.value: part for part in bom.components}
    assert parts.keys() == {one.path for one in TOLD.packages}
    assert {h.alg.value for h in parts[TOLD.packages[0].path].hashes} == {"SHA-256", "SHA-384"}
    assert parts[BUNDLE.path].type.value == "data"
    graph = {d.ref.value: {e.ref.value for e in d.dependencies} for d in bom.dependencies}
    assert graph[TOLD.packages[0].path] == {ODD.path}
    # `b` was asked for, `odd` came along.
    assert graph["halkbank@2"] == {p.path for p in TOLD.packages} - {ODD.path}
    assert "javascript:" not in data


def test_the_same_release_gives_the_same_document():
    assert cyclonedx(TOLD) == cyclonedx(TOLD)
    other = json.loads(cyclonedx(report(package("a"))))["serialNumber"]
    assert other != json.loads(cyclonedx(TOLD))["serialNumber"]
    assert json.loads(cyclonedx(TOLD))["metadata"]["timestamp"] == TOLD.date


@pytest.mark.parametrize("one", TOLD.packages, ids=lambda one: one.name)
def test_package_urls_are_read_by_others(one):
    found = PackageURL.from_string(purl(one))
    assert (found.type, found.name, found.version) == ("conda", one.name, one.version)
    assert found.qualifiers["build"] == one.build
    is_local = one.source.startswith("file:")
    assert found.qualifiers.get("channel", "") == ("" if is_local else one.source)
    assert found.to_string() == PackageURL.from_string(found.to_string()).to_string()


def test_scanners_find_what_pypi_calls_a_package():
    told = report(
        package("pytorch", purls=("pkg:pypi/torch@2.9.1",), source="file:///home/me/channel"),
        package("openssl", purls=("pkg:generic/openssl@3.5%2Bx",)),
    )
    data = cyclonedx(told).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data) is None
    parts = {part.name: part for part in Bom.from_json(json.loads(data)).components}
    (torch,) = parts["pytorch"].components
    assert (torch.purl.to_string(), torch.name, torch.version) == (
        "pkg:pypi/torch@2.9.1", "torch", "2.9.1",
    )  # fmt: skip
    (openssl,) = parts["openssl"].components
    assert (openssl.purl.type, openssl.version) == ("generic", "3.5+x")
    located = [
        ref["referenceLocator"]
        for p in json.loads(spdx(told))["packages"]
        for ref in p["externalRefs"]
    ]
    assert located.count("pkg:pypi/torch@2.9.1") == 1
    assert "/home/me" not in data
    assert "/home/me" not in spdx(told).decode()
    assert "%2Fhome" not in data + spdx(told).decode()


def test_spdx_names_every_package_and_relation():
    document = json.loads(spdx(TOLD))
    assert document["spdxVersion"] == "SPDX-2.3"
    by_id = {one["SPDXID"]: one for one in document["packages"]}
    assert {one["packageFileName"] for one in by_id.values()} == {p.path for p in TOLD.packages}
    needs = [
        (by_id[r["spdxElementId"]]["name"], by_id[r["relatedSpdxElement"]]["name"])
        for r in document["relationships"]
        if r["relationshipType"] == "DEPENDS_ON"
    ]
    assert needs == [("a", "odd")]
    declared = {one["name"]: one["licenseDeclared"] for one in by_id.values()}
    assert declared["odd"] == declared["halkbank-models"] == "NOASSERTION"
    assert [one["licenseId"] for one in document["hasExtractedLicensingInfos"]] == [
        "LicenseRef-Mine"
    ]


def test_no_spreadsheet_takes_a_cell_for_a_formula():
    told = report(package("a", licence='=HYPERLINK("http://x")', version="@1"))
    row = next(iter(csv.DictReader(io.StringIO(table(told).decode()))))
    assert row["licence"].startswith("'=")
    assert row["version"] == "'@1"
    assert row["bytes"] == "1000"

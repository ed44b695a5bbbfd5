"""What PyPI calls a conda package."""

from __future__ import annotations

import importlib.metadata
import json

import pytest
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from repack.conda.pypi_names import Distribution, distributions_of, known_names, package_urls
from repack.conda.record import Record


def record(name: str, version: str = "1.0", **fields) -> Record:
    raw = {
        "name": name, "version": version, "build": "0", "build_number": 0, "subdir": "noarch",
        "sha256": "ab" * 32, "size": 1, **fields,
    }  # fmt: skip
    return Record.of(raw, "x-1-0.conda", "")


def test_the_table_is_the_one_that_conda_pypi_ships():
    if not any(importlib.metadata.distributions(name="conda-pypi")):
        pytest.skip("no conda-pypi: it is in the dev group, not at the lowest bounds")
    files = importlib.metadata.files("conda-pypi") or []
    (path,) = [file.locate() for file in files if file.name == "grayskull_pypi_mapping.json"]
    rows = json.loads(path.read_bytes()).values()
    shipped: dict[str, set[str]] = {}
    for row in rows:
        shipped.setdefault(row["conda_name"], set()).add(canonicalize_name(row["pypi_name"]))
    assert len(shipped) > 10_000
    table = {name: set(names) for name, names in known_names().items()}
    if importlib.metadata.version("conda-pypi") == "0.13.1":  # the one it was made from
        assert table == shipped
    assert sum(table.get(name) == names for name, names in shipped.items()) > 0.9 * len(shipped)


def test_the_record_counts_before_the_table():
    assert distributions_of(record("pytorch", "2.9")) == (Distribution("torch", "2.9"),)
    own = record("pytorch", "2.9", purls=["pkg:pypi/Torch_Acme@2.9%2Bacme1", "pkg:npm/x@1", 7])
    assert distributions_of(own) == (Distribution("torch-acme", "2.9+acme1"),)
    assert distributions_of(record("pytorch", "2.9", purls=["nonsense"]))[0].name == "torch"


def test_several_names_and_none():
    assert len(distributions_of(record("opencv", "4.0"))) == 2
    assert distributions_of(record("openssl", "3.0")) == ()
    assert package_urls(record("openssl", "3!0+x")) == ("pkg:generic/openssl@3%210%2Bx",)


def test_others_read_the_urls():
    for one in (record("typing_extensions", "4.1"), record("openssl", "3!0+x"), record("pytorch")):
        for url in package_urls(one):
            assert PackageURL.from_string(url).version == one.version

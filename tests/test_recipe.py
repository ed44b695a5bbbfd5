"""The recipe for conda-build says what pyproject.toml says; nobody builds it on every change."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import repack

ROOT = Path(__file__).parent.parent
CONDAS = {"backports-zstd": "backports.zstd"}  # what conda-forge calls what others call otherwise


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def text():
    return (ROOT / "recipe/meta.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def recipe(text):
    """As conda-build reads it, without what its templates say."""
    plain = re.sub(r"{%.*?%}", "", text, flags=re.DOTALL)
    return YAML(typ="safe").load(re.sub(r"{{.*?}}", "X", plain))


def conda(requirement: str) -> str:
    """A requirement in conda's words, without its marker."""
    name, bounds = re.fullmatch(
        r"([\w.-]+)(.*)", requirement.split(";", maxsplit=1)[0].strip()
    ).groups()
    return f"{CONDAS.get(name, name)} {bounds}".strip()


def test_it_needs_what_the_project_needs(project, recipe):
    wanted = {conda(one) for one in project["project"]["dependencies"]}
    python = f"python {project['project']['requires-python']}"
    assert set(recipe["requirements"]["run"]) == {*wanted, python}
    building = {conda(one) for one in project["build-system"]["requires"]}
    assert set(recipe["requirements"]["host"]) == {*building, python, "pip"}


def test_the_rest_is_the_projects_too(project, recipe):
    given = project["project"]
    commands = [f"{name} = {what}" for name, what in given["scripts"].items()]
    assert recipe["build"]["entry_points"] == commands
    about = recipe["about"]
    assert (about["license"], about["summary"]) == (given["license"], given["description"])
    assert [about["license_file"]] == given["license-files"]


def test_it_finds_the_version(text):
    pattern = re.search(r"regex_pattern='([^']+)'", text)[1]
    source = (ROOT / "repack/version.py").read_text(encoding="utf-8")
    assert re.search(pattern, source)[1] == repack.__version__
    assert "version: {{ source.group(1) }}" in text

"""recipe/meta.yaml and environment.yml say what pyproject.toml says, and that what repack imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import repack
from scripts.environment_yml import TOOLS, environment_yml, to_conda

ROOT = Path(__file__).parent.parent


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


def test_it_needs_what_the_project_needs(project, recipe):
    wanted = {to_conda(one) for one in project["project"]["dependencies"]}
    python = f"python {project['project']['requires-python']}"
    assert set(recipe["requirements"]["run"]) == {*wanted, python}
    building = {to_conda(one) for one in project["build-system"]["requires"]}
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


def test_the_environment_is_generated():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert text == environment_yml()
    environment = YAML(typ="safe").load(text)
    *specs, pip = environment["dependencies"]
    assert pip == {"pip": ["--editable ."]}
    names = {spec.split()[0] for spec in specs}
    assert {"conda-build", "conda-index", "requests", "click", "pytest"} <= names
    assert set(TOOLS) <= names


# Imported behind `except ImportError`, or by whoever brings it along.
OPTIONAL = {
    "urllib3": "comes with requests, which is nothing without it",
    "_typeshed": "for type checkers alone",
    "conda": "plugin.py is loaded by conda",
    "install_folders": "lies beside install.py wherever that runs",
    "installed_paths": "lies beside install.py wherever that runs",
}
# Namespaces that several distributions share, and a module of the standard library from 3.14 on.
NAMESPACES = {
    "backports": "backports-zstd",
    "compression": "backports-zstd",
    "ruamel": "ruamel-yaml",
}


def normalised(name: str) -> str:
    """PEP 503; also of a requirement, whose bounds go."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


def distribution(module: str) -> str:
    """The distribution that `import module` needs."""
    return NAMESPACES.get(module) or normalised(packages_distributions().get(module, [module])[0])


def imported() -> dict[str, str]:
    """Top-level foreign modules that repack imports, each with a file that does."""
    found = {}
    for file in sorted((ROOT / "repack").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            dotted = []
            if isinstance(node, ast.Import):
                dotted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                dotted = [node.module]
            found |= {name.split(".")[0]: file.relative_to(ROOT).as_posix() for name in dotted}
    own = {*sys.stdlib_module_names, "repack"} - set(NAMESPACES)
    return {module: file for module, file in found.items() if module not in own}


def declared(project) -> set[str]:
    return set(map(normalised, project["project"]["dependencies"]))


def extras(project) -> dict[str, set[str]]:
    groups = project["project"]["optional-dependencies"]
    return {extra: set(map(normalised, requirements)) for extra, requirements in groups.items()}


def test_what_is_imported_is_declared(project):
    names = declared(project).union(*extras(project).values())
    undeclared = {
        module: file
        for module, file in imported().items()
        if module not in OPTIONAL and distribution(module) not in names
    }
    assert not undeclared


def test_what_is_declared_is_imported(project):
    used = {distribution(module) for module in imported()}
    assert declared(project) <= used


def test_extras_are_no_hard_dependencies(project):
    assert set(extras(project)) == {"fleet", "keyring", "proxy", "recipes", "s3", "wheels"}
    assert not declared(project) & set().union(*extras(project).values())

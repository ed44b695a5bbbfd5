"""Labels with wheels: from locks, from the label, chosen by uv; into channels that install."""

from __future__ import annotations

import hashlib
import html
import json
import shutil
from pathlib import Path

import pytest

from repack.conda.subdir import host_subdir
from tests import tiny
from tests.wheels.wheels import make_wheel
from tests.world import World, serving

PYTHON = tiny.Package(
    "python",
    "3.11.7",
    files={"bin/python": tiny.PYTHON, "bin/python3.11": tiny.PYTHON},
)
PACKAGES = (PYTHON, *tiny.PACKAGES[1:])
linked = pytest.mark.skipif(
    host_subdir() != "linux-64", reason="what is built here cannot be linked on this machine"
)
METADATA = "Requires-Python: >=3.9\nRequires-Dist: acme-helper>=1; python_version >= '3.9'\n"


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "vendor", {"platforms": {"linux-64": {}}})
    made.serve(*PACKAGES)
    return made


def dist_info(name: str, version: str, metadata: str = "") -> dict[str, str]:
    """What a conda package of a distribution brings of it."""
    folder = f"site-packages/{name.replace('-', '_')}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}"
    return {f"{folder}/METADATA": head}


class Index:
    """A simple index (PEP 503) of the wheels in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, **wheel) -> Path:
        path = make_wheel(self.folder / "files", **wheel)
        name = path.name.split("-")[0].replace("_", "-")
        page = self.folder / "simple" / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        links = ""
        for file in sorted((self.folder / "files").iterdir()):
            if file.name.split("-")[0].replace("_", "-") == name:
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                href = html.escape(f"../../files/{file.name}#sha256={digest}")
                links += f'<a href="{href}">{file.name}</a>\n'
        page.write_text(f"<html><body>{links}</body></html>")
        return path


@pytest.fixture
def index(tmp_path):
    made = Index(tmp_path / "index")
    made.add(metadata=METADATA, entry_points="[console_scripts]\nscore = acme_scoring:main\n")
    made.add(name="acme_helper", version="1.2")
    with serving(made.folder) as (url, asked):
        made.url, made.asked = f"{url}/simple", asked
        yield made


def records(world: World, subdir: str = "noarch") -> dict:
    document = json.loads((world.channel / subdir / "repodata.json").read_bytes())
    rows = {**document["packages"], **document["packages.conda"]}
    return {row["name"]: row for row in rows.values()}


def lock_of(index: Index, *paths: Path) -> str:
    rows = "".join(
        f"- pypi: {index.url.removesuffix('/simple')}/files/{path.name}\n"
        f"  name: {path.name.split('-')[0]}\n  version: {path.name.split('-')[1]}\n"
        f"  sha256: {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in paths
    )
    names = "".join(
        f"      - pypi: {index.url.removesuffix('/simple')}/files/{path.name}\n" for path in paths
    )
    return rows, names


def pixi_lock(world: World, index: Index) -> Path:
    conda = []
    for subdir in ("linux-64", "noarch"):
        document = json.loads((world.upstream / subdir / "repodata.json").read_bytes())
        for fn, row in {**document["packages"], **document["packages.conda"]}.items():
            conda.append((f"{world.upstream.as_uri()}/{subdir}/{fn}", row["sha256"]))
    rows, names = lock_of(index, *sorted((index.folder / "files").iterdir()))
    text = "version: 6\nenvironments:\n  default:\n    channels:\n"
    text += f"    - url: {world.upstream.as_uri()}\n    packages:\n      linux-64:\n"
    text += "".join(f"      - conda: {url}\n" for url, _ in conda) + names
    text += "packages:\n" + "".join(f"- conda: {u}\n  sha256: {h}\n" for u, h in conda) + rows
    path = world.labels / "pixi.lock"
    path.write_text(text)
    return path


def test_a_pixi_lock_with_wheels(world, index):
    pixi_lock(world, index)
    del world.label["packages"]
    built = world.build(**{"from": "pixi.lock"})
    assert built["changed"]
    found = records(world)
    assert {"acme-scoring", "acme-helper"} <= set(found)
    scoring = found["acme-scoring"]
    assert scoring["noarch"] == "python"
    assert scoring["purls"] == ["pkg:pypi/acme-scoring@2.1"]
    assert "acme-helper >=1" in scoring["depends"]
    # Unchanged: nothing is asked for again, the wheels least of all.
    index.asked.clear()
    again = world.build()
    assert (again["changed"], again["release"]) == (False, 1)
    assert index.asked == []


def test_wheels_that_the_label_names(world, index):
    built = world.build(
        packages=["python", "tiny-data"],
        wheels={"index": index.url, "packages": ["acme-scoring ==2.1"]},
    )
    assert built["changed"]
    assert {"acme-scoring", "acme-helper"} <= set(records(world))
    lock = (world.labels / "bank.lock").read_text()
    assert "acme_scoring-2.1-py3-none-any.whl#sha256=" in lock
    index.asked.clear()
    assert not world.build()["changed"]
    assert index.asked == []
    # A lock that still fits is kept though the index has something newer.
    index.add(name="acme_scoring", version="2.2")
    assert not world.build()["changed"]


def test_a_newer_one_with_update(world, index):
    world.build(packages=["python"], wheels={"index": index.url, "packages": ["acme-helper"]})
    index.add(name="acme_helper", version="1.3")
    built = world.build("--update")
    assert built["changed"]
    assert records(world)["acme-helper"]["version"] == "1.3"


def test_a_wheel_on_disk(world, index):
    make_wheel(
        world.labels / "wheels",
        name="acme_tools",
        version="3.0",
        metadata="Requires-Dist: acme-helper\n",
    )
    built = world.build(
        packages=["python"],
        wheels={"index": index.url, "packages": ["./wheels/acme_tools-3.0-py3-none-any.whl"]},
    )
    assert built["changed"]
    assert {"acme-tools", "acme-helper"} <= set(records(world))
    assert not world.build()["changed"]


def test_pip_section_of_an_environment_file(world, index):
    (world.labels / "environment.yml").write_text(
        "dependencies:\n- python\n- tiny-data\n- pip:\n  - acme-scoring>=2\n"
    )
    del world.label["packages"]
    world.build(**{"from": "environment.yml"}, wheels={"index": index.url})
    assert "acme-scoring" in records(world)


def test_what_conda_has_comes_from_conda(world, index):
    helper = tiny.Package(
        "acme-helper",
        "1.1",
        ("python >=3.6",),
        "noarch",
        "python",
        "py_0",
        {"site-packages/acme_helper/__init__.py": "", **dist_info("acme-helper", "1.1")},
    )
    world.serve(*PACKAGES, helper)
    policy = {"index": index.url, "packages": ["acme-scoring"]}
    world.build(packages=["python"], wheels=policy)
    assert records(world)["acme-helper"]["version"] == "1.1"
    world.build("--update", wheels={**policy, "instead": "wheel"})
    assert records(world)["acme-helper"]["version"] == "1.2"


def noarch(name: str, version: str, files: dict[str, str]) -> tiny.Package:
    return tiny.Package(name, version, ("python >=3.6",), "noarch", "python", "py_0", files)


@linked
def test_conda_has_another_version_than_its_metadata_says(world, index):
    world.serve(*PACKAGES, noarch("acme-helper", "1.1", dist_info("acme-helper", "0.5")))
    text = world.fail(
        7, packages=["python"], wheels={"index": index.url, "packages": ["acme-scoring"]}
    )
    assert "acme-scoring 2.1 needs acme-helper>=1, and acme-helper 0.5 is there" in text
    assert "wheels.names" in text


@linked
def test_what_a_wheel_needs_is_no_distribution(world, index):
    files = {"site-packages/acme_helper/__init__.py": ""}
    world.serve(*PACKAGES, noarch("acme-helper", "1.1", files))
    policy = {"index": index.url, "packages": ["acme-scoring"]}
    text = world.fail(7, packages=["python"], wheels=policy)
    assert "acme-scoring 2.1 needs acme-helper>=1, which is not there" in text
    # The hint works.
    world.build("--update", wheels={**policy, "instead": "wheel"})


@linked
def test_a_distribution_twice(world, index):
    world.serve(*PACKAGES, noarch("acme-other", "1.1", dist_info("Acme.Helper", "1.1")))
    text = world.fail(
        7,
        packages=["python", "acme-other"],
        wheels={"index": index.url, "packages": ["acme-helper"]},
    )
    assert "acme-helper 1.1 and acme-helper 1.2 are both installed" in text


@linked
def test_what_conda_packages_say_of_each_other_is_a_note(world, index, capfd):
    metadata = "Requires-Dist: nowhere>=3\nRequires-Dist: gone; sys_platform == 'win32'\n"
    world.serve(*PACKAGES, noarch("acme-odd", "1.1", dist_info("acme-odd", "1.1", metadata)))
    world.write(
        packages=["python", "acme-odd"], wheels={"index": index.url, "packages": ["acme-helper"]}
    )
    assert world.repack("label", "bank") == 0
    text = "".join(capfd.readouterr())
    assert "acme-odd 1.1 needs nowhere>=3, which is not there" in text
    assert "gone" not in text


def test_binary_wheels_per_platform(tmp_path, index):
    for tag in ("cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-win_amd64"):
        index.add(name="acme_fast", version="1.0", tag=tag)
    world = World(tmp_path / "vendor")
    windows = tiny.Package("python", "3.11.7", subdir="win-64", files={"python.exe": "MZ\n"})
    shutil.rmtree(world.upstream)
    tiny.channel(world.upstream, (*PACKAGES, windows, tiny.WINDOWS[1]))
    world.build(packages=["python"], wheels={"index": index.url, "packages": ["acme-fast"]})
    linux, windows = records(world, "linux-64")["acme-fast"], records(world, "win-64")["acme-fast"]
    assert "__glibc >=2.17" in linux["depends"]
    assert "python >=3.11,<3.12.0a0" in windows["depends"]


def test_a_wheel_that_the_target_cannot_run(world, index):
    path = index.add(name="acme_new", tag="cp311-cp311-manylinux_2_34_x86_64")
    (world.labels / "wheels").mkdir()
    shutil.copy(path, world.labels / "wheels")
    text = world.fail(4, packages=["python"], wheels={"index": index.url, "packages": ["acme-new"]})
    assert "acme-new" in text
    pixi_lock(world, index)
    del world.label["packages"]
    text = world.fail(6, **{"from": "pixi.lock"}, wheels={})
    assert "manylinux_2_34" in text
    assert "__glibc=2.17" in text


def test_skip_and_refuse(world, index):
    pixi_lock(world, index)
    del world.label["packages"]
    built = world.build(**{"from": "pixi.lock"}, wheels="skip")
    assert "acme-scoring" not in records(world)
    assert any("acme-scoring 2.1 is a wheel" in text for text in built["warnings"])
    text = world.fail(3, wheels="refuse")
    assert "acme-scoring" in text
    assert "acme-helper" in text


def test_an_sdist_is_refused_by_name(world, index):
    path = pixi_lock(world, index)
    path.write_text(
        path.read_text().replace("acme_helper-1.2-py3-none-any.whl", "acme_helper-1.2.tar.gz")
    )
    del world.label["packages"]
    text = world.fail(3, **{"from": "pixi.lock"})
    assert "acme_helper-1.2.tar.gz" in text
    assert "pip wheel" in text


def test_missing_wheels_are_named_together(world, index):
    pixi_lock(world, index)
    shutil.rmtree(index.folder / "files")
    del world.label["packages"]
    text = world.fail(5, **{"from": "pixi.lock"})
    assert "acme_scoring" in text
    assert "acme_helper" in text


def test_another_wheel_than_was_pinned(world, index):
    pixi_lock(world, index)
    make_wheel(index.folder / "files", name="acme_helper", version="1.2", files={"evil.py": b"x"})
    del world.label["packages"]
    assert "not the wheel that was pinned" in world.fail(6, **{"from": "pixi.lock"})


def test_extras(world, index):
    index.add(
        name="acme_extra", version="1.0", metadata="Requires-Dist: acme-helper; extra == 'more'\n"
    )
    world.build(packages=["python"], wheels={"index": index.url, "packages": ["acme-extra[more]"]})
    assert records(world)["acme-extra"]["depends"] == ["acme-helper", "python"]


def test_without_python(world, index):
    text = world.fail(
        2, packages=["tiny-data"], wheels={"index": index.url, "packages": ["acme-helper"]}
    )
    assert "python" in text


def test_a_name_that_conda_has_too(world, index):
    make_wheel(world.labels / "wheels", name="tiny_data", version="9")
    text = world.fail(
        6,
        packages=["python", "tiny-data"],
        wheels={"index": index.url, "packages": ["./wheels/tiny_data-9-py3-none-any.whl"]},
    )
    assert "tiny-data" in text
    assert "wheels.names" in text
    world.build(wheels={**world.label["wheels"], "names": {"tiny-data": "tiny-data-py"}})
    assert "tiny-data-py" in records(world)


@pytest.mark.parametrize("text", ["no requirement at all!", "a @ https://example.org/a.whl"])
def test_odd_entries(world, text):
    assert "bank.yaml" in world.fail(3, wheels={"packages": [text]})

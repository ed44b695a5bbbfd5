"""Prepared environments in which pip installed something: taken as wheels, by the label's policy."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.release.test_label_of_environment import Desk
from tests.wheels.test_label import PACKAGES, Index
from tests.wheels.wheels import make_wheel
from tests.world import records, serving

UPSTREAM = "https://conda.example.org/prometeia"


@pytest.fixture
def desk(tmp_path, capsys, monkeypatch):
    for name in ("REPACK_CHANNELS", "CONDARC", "CONDA_PREFIX", "CONDA_OVERRIDE_GLIBC"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = Desk(tmp_path, capsys)
    made.fill(*PACKAGES, upstream=UPSTREAM)
    made.json()
    return made


@pytest.fixture
def index(tmp_path, monkeypatch):
    made = Index(tmp_path / "index")
    made.add(name="acme_helper", version="1.2")
    made.add(name="acme_helper", version="1.3")
    made.add(name="acme_scoring", version="2.1", metadata="Requires-Dist: acme-helper>=1\n")
    with serving(made.folder) as (url, asked):
        made.url, made.asked = f"{url}/simple", asked
        monkeypatch.setenv("PIP_INDEX_URL", made.url)
        yield made


def pip_install(desk: Desk, name: str, version: str, origin: object = None) -> Path:
    """What pip leaves of a distribution."""
    site = desk.environment.prefix / "lib" / "python3.11" / "site-packages"
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (folder / "METADATA").write_text(head)
    (folder / "INSTALLER").write_text("pip\n")
    (folder / "RECORD").write_text(f"{folder.name}/METADATA,,\n")
    if origin is not None:
        text = origin if isinstance(origin, str) else json.dumps(origin)
        (folder / "direct_url.json").write_text(text)
    return folder


def write_label(desk: Desk, **wheels: object) -> None:
    label = {"label": "halkbank", "channels": [UPSTREAM], "platforms": {"linux-64": {}}, **wheels}
    (desk.root / "labels").mkdir(exist_ok=True)
    (desk.root / "labels/halkbank.json").write_text(json.dumps(label))


def versions(desk: Desk) -> dict[str, str]:
    return {row["name"]: row["version"] for row in records(desk.channel, "noarch").values()}


def test_what_pip_installed_comes_in_its_version(desk, index):
    pip_install(desk, "acme_helper", "1.2")
    pip_install(desk, "acme_scoring", "2.1")
    code, said, err = desk.label()
    assert code == 0, err
    assert "acme-helper 1.2, acme-scoring 2.1" in err
    assert said["warnings"] == []
    assert versions(desk)["acme-helper"] == "1.2"
    assert versions(desk)["acme-scoring"] == "2.1"
    # The lock names them: nobody is asked again, even when the index has gone.
    index.asked.clear()
    code, said, err = desk.label()
    assert (code, said["changed"]) == (0, False), err
    assert index.asked == []


def test_another_version_later(desk, index):
    folder = pip_install(desk, "acme_helper", "1.2")
    assert desk.label()[0] == 0
    folder.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme_helper\nVersion: 1.3\n"
    )
    assert desk.label()[1]["changed"]
    assert versions(desk)["acme-helper"] == "1.3"


def test_what_a_distribution_needs_beyond_the_environment_is_said(desk, index):
    pip_install(desk, "acme_scoring", "2.1")
    code, said, err = desk.label()
    assert code == 0, err
    (warning,) = said["warnings"]
    assert warning.startswith("acme-helper 1.3 is not in the environment")


@pytest.mark.parametrize("served", ["file", "http"])
def test_the_very_wheel_that_was_installed(desk, index, tmp_path, served):
    path = make_wheel(tmp_path / "own ü", name="acme_own", version="3.0")
    url = path.as_uri()
    if served == "http":
        path = index.add(name="acme_own", version="3.0")
        url = f"{index.url.removesuffix('/simple')}/files/{path.name}"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    pip_install(desk, "acme_own", "3.0", {"url": url, "archive_info": {"hash": f"sha256={digest}"}})
    code, _, err = desk.label()
    assert code == 0, err
    assert versions(desk)["acme-own"] == "3.0"
    assert desk.label()[1]["changed"] is False


def test_another_wheel_at_that_path(desk, tmp_path):
    path = make_wheel(tmp_path / "own", name="acme_own", version="3.0")
    origin = {"url": path.as_uri(), "archive_info": {"hashes": {"sha256": "0" * 64}}}
    pip_install(desk, "acme_own", "3.0", origin)
    code, _, err = desk.label()
    assert code == 3
    assert "acme-own 3.0: the wheel is not the one that was installed" in err
    path.unlink()
    code, _, err = desk.label()
    assert (code, "acme-own 3.0" in err) == (3, True)


def test_what_no_wheel_can_stand_for_is_named_at_once(desk):
    folder = {"url": "file:///src/tool", "dir_info": {}}
    pip_install(desk, "acme_edit", "1.0", {**folder, "dir_info": {"editable": True}})
    pip_install(desk, "acme_tool", "1.0", folder)
    pip_install(desk, "acme_git", "1.0", {"url": "https://h/x.git", "vcs_info": {"vcs": "git"}})
    pip_install(desk, "acme_sdist", "1.0", {"url": "https://h/x-1.0.tar.gz", "archive_info": {}})
    pip_install(desk, "acme_torn", "1.0", "[")
    site = pip_install(desk, "tiny_data", "9").parent
    (site / "acme_link.egg-link").write_text("/src/link\n.")
    (site / "acme_egg-2.0-py3.11.egg").mkdir()
    (site / "conda.pth").write_text("/src/developed\n")
    code, _, err = desk.label()
    assert code == 3
    for text in (
        "acme-edit 1.0 is installed to be edited",
        "acme-tool 1.0 was built from a folder",
        "acme-git 1.0 was built from a folder or repository",
        "acme-sdist 1.0",
        "acme-torn 1.0 has a direct_url.json",
        "acme-link is installed to be edited",
        "acme-egg 2.0 is an egg",
        "tiny-data 9 was installed by pip over conda's tiny-data 1.0",
    ):
        assert text in err
    assert "pip wheel" in err
    assert "wheels: skip" in err
    assert not desk.channel.exists()
    # The hint works.
    write_label(desk, wheels="skip")
    code, said, err = desk.label()
    assert code == 0, err
    skipped = [text for text in said["warnings"] if text.endswith("; it was skipped")]
    assert len(skipped) == 8
    assert "acme-edit 1.0 was installed by pip; it was skipped" in said["warnings"]
    assert "/src/developed is on Python's path by `conda develop`, so left out" in said["warnings"]


def test_a_wheel_that_the_label_names_stands_for_an_editable_one(desk):
    editable = {"url": "file:///src/tool", "dir_info": {"editable": True}}
    pip_install(desk, "acme_tools", "3.0", editable)
    make_wheel(desk.root / "labels" / "wheels", name="acme_tools", version="3.0")
    write_label(desk, wheels={"packages": ["./wheels/acme_tools-3.0-py3-none-any.whl"]})
    code, _, err = desk.label()
    assert code == 0, err
    assert versions(desk)["acme-tools"] == "3.0"


def test_refuse(desk):
    pip_install(desk, "acme_helper", "1.2")
    write_label(desk, wheels="refuse")
    code, _, err = desk.label()
    assert (code, "acme-helper 1.2 was installed by pip" in err) == (3, True)


def test_pip_over_conda_s_pip(desk):
    pip_install(desk, "pip", "25.0")
    code, said, err = desk.label()
    assert code == 0, err
    assert said["warnings"] == [
        "pip 25.0 was installed by pip over conda's pip 24.0, which is taken"
    ]
    assert versions(desk)["pip"] == "24.0"


def test_the_index_lacks_it(desk, index):
    pip_install(desk, "acme_helper", "7.7")
    code, _, err = desk.label()
    assert code == 4
    assert "acme-helper==7.7" in err

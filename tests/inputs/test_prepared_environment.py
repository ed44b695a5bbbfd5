"""Taking the packages of a prepared environment, as conda 4.3 and conda 26 leave it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest

from repack.conda.virtual_packages import VirtualPackage
from repack.errors import FetchError, UsageError
from repack.inputs.prepared_environment import harvest
from repack.urls import channel_url
from tests import clients, tiny
from tests.archives import Package
from tests.environments import HOST, Environment

THING = Package("thing", "1.0", "0", files={"lib/python3.11/site-packages/thing.dist-info/M": b""})
DATA = Package("data", "2.0", "py_0", subdir="noarch", index={"noarch": "generic"})


@pytest.fixture(params=["current", "old"])
def environment(request, tmp_path):
    return Environment(tmp_path, request.param)


@pytest.fixture
def current(tmp_path):
    return Environment(tmp_path)


def meta_file(environment, dist):
    return environment.prefix / "conda-meta" / f"{dist}.json"


def change_meta(environment, dist, **changes):
    path = meta_file(environment, dist)
    meta = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in meta.items() if v is not None}))


def test_exactly_the_environment_s_packages_each_in_its_subdir(environment):
    archives = [environment.add(THING), environment.add(DATA)]
    (environment.cache / "other-1.0-0.conda").write_bytes(b"not in the environment")
    got = harvest(environment.info())
    assert [record.path for record in got.records] == [
        f"linux-64/thing-1.0-0{environment.suffix}",
        f"noarch/data-2.0-py_0{environment.suffix}",
    ]
    assert sorted(got.archives.values()) == sorted(archives)
    for digest, path in got.archives.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert got.warnings == ()
    assert got.subdir == "linux-64"


def test_the_record_is_upstream_s_without_what_the_client_added(environment):
    archive = environment.add(THING, depends=["zlib", "hot-fix >=1"])
    (record,) = harvest(environment.info()).records
    expected = dict(environment.records[archive.name])
    expected["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert dict(record.raw) == expected
    assert record.depends == ("zlib", "hot-fix >=1")
    assert record.url == f"{HOST}/linux-64/{archive.name}"


def test_what_conda_says_of_itself(environment):
    environment.add(THING)
    info = harvest(environment.info()).info
    assert info.conda == ("26.7.1" if environment.age == "current" else "4.3.16")
    assert info.channels == (f"{HOST}/linux-64", f"{HOST}/noarch")
    found = (VirtualPackage("__glibc", "2.36"), VirtualPackage("__conda", "26.7.1"))
    assert info.virtual_packages == (found if environment.age == "current" else ())


def test_virtual_packages_of_another_form_are_passed_over(current):
    current.add(THING)
    odd = ["__glibc=2.36=0", ["__glibc"], ["__linux", 6, "0"], ["__unix", "0", "0"]]
    info = harvest(current.info(virtual_pkgs=odd)).info
    assert info.virtual_packages == (VirtualPackage("__unix", "0"),)


def test_what_is_in_no_cache_is_left_to_be_fetched(current):
    current.add(THING).unlink()
    current.add(DATA)
    got = harvest(current.info())
    assert len(got.records) == 2
    assert [path.name for path in got.archives.values()] == ["data-2.0-py_0.conda"]


def test_an_archive_with_another_hash_is_not_used(current):
    archive = current.add(THING)
    archive.write_bytes(archive.read_bytes() + b"x")
    got = harvest(current.info())
    assert got.archives == {}
    assert got.warnings == (f"{archive}: is not the archive that was installed, so not used",)


def test_the_right_archive_is_found_behind_a_wrong_one(current):
    current.add(THING)
    wrong = current.root / "none"
    wrong.mkdir()
    (wrong / "thing-1.0-0.conda").write_bytes(b"from another channel")
    got = harvest(current.info())
    assert [path.parent for path in got.archives.values()] == [current.cache]


def test_an_archive_is_found_where_the_client_says_it_is(current):
    current.add(THING)
    got = harvest(current.info(pkgs_dirs=[str(current.root / "none")]))
    assert len(got.archives) == 1


def test_all_that_cannot_be_had_is_reported_together(tmp_path):
    environment = Environment(tmp_path, "old")
    environment.add(THING).unlink()
    environment.add(DATA).unlink()
    change_meta(environment, "data-2.0-py_0", url=None)
    environment.add(Package("pipped"))
    change_meta(environment, "pipped-1.0-0", channel="pypi")
    (environment.prefix / "conda-meta" / "odd.json").write_text("{}")
    environment.add(Package("torn", index={"depends": None}), depends=None)
    environment.add(Package("fine"))
    with pytest.raises(FetchError) as caught:
        harvest(environment.info())
    text = caught.value.text()
    assert "4 packages of the environment can neither be found nor fetched" in text
    assert "thing-1.0-0.tar.bz2: in no package cache, and without a recorded SHA-256" in text
    assert "data-2.0-py_0.tar.bz2: in no package cache, and no URL is recorded" in text
    assert "pipped" not in text
    assert "odd.json: names no package, version and build" in text
    assert "torn-1.0-0.tar.bz2: its record is incomplete" in text
    assert "fine" not in text


ZEROED = {"depends": [], "timestamp": 0, "license": "", "size": 0, "constrains": []}


def test_a_zeroed_record_is_taken_from_the_cache(current):
    current.add(THING, **ZEROED)
    current.remember(THING, depends=["zlib", "hot-fix >=1"])
    got = harvest(current.info())
    assert got.records[0].depends == ("zlib", "hot-fix >=1")
    assert got.records[0].size > 0
    assert got.warnings == (
        (
            "thing-1.0-0.conda: its record was emptied by the client that installed it;"
            " taken from repodata_record.json"
        ),
    )


def test_a_record_zeroed_in_the_cache_too_is_taken_from_the_archive(current):
    package = Package("thing", index={"depends": ["python >=3.11"], "timestamp": 1})
    current.add(package, **ZEROED)
    current.remember(package, **ZEROED)
    got = harvest(current.info())
    assert got.records[0].depends == ("python >=3.11",)
    assert got.warnings[0].endswith("index.json, where later fixes of upstream are missing")


def test_the_archive_itself_is_opened_when_nothing_is_unpacked(environment):
    package = Package("thing", index={"depends": ["python >=3.11"]})
    environment.add(package, **ZEROED)
    (environment.cache / package.dist / "info" / "index.json").unlink()
    got = harvest(environment.info())
    assert got.records[0].depends == ("python >=3.11",)


def test_an_archive_of_another_package_is_not_believed(current):
    current.add(THING, **ZEROED)
    index = current.cache / THING.dist / "info" / "index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "version": "9", "timestamp": 1}))
    current.remember(THING, md5="0" * 32, sha256="0" * 64)
    (current.cache / "thing-1.0-0.conda").write_bytes(b"no zip")
    with pytest.raises(FetchError, match="its record is incomplete"):
        harvest(current.info())


def test_a_damaged_archive_cannot_complete_a_record(current):
    data = b"no zip at all"
    sha = hashlib.sha256(data).hexdigest()
    archive = current.add(THING, **ZEROED | {"sha256": sha, "md5": None})
    archive.write_bytes(data)
    (current.cache / THING.dist / "info" / "index.json").unlink()
    with pytest.raises(FetchError, match=r"thing-1\.0-0\.conda: "):
        harvest(current.info())


@pytest.mark.parametrize("number", [None, "0", True])
def test_a_record_without_a_build_number_is_incomplete(current, number):
    current.add(THING, build_number=number)
    current.remember(THING)
    assert harvest(current.info()).records[0].build_number == 0


def test_the_format_is_guessed_where_nobody_says_it(tmp_path):
    environment = Environment(tmp_path, "old")
    environment.add(THING)
    change_meta(environment, THING.dist, fn=None, url=None)
    assert harvest(environment.info()).records[0].fn == "thing-1.0-0.tar.bz2"


def test_a_size_that_is_none_cannot_be_fetched(current):
    current.add(THING, size="large").unlink()
    with pytest.raises(FetchError, match="the repodata record is incomplete"):
        harvest(current.info())


def test_an_empty_list_of_dependencies_is_no_zeroed_record(current):
    current.add(THING, depends=[])
    assert harvest(current.info()).records[0].depends == ()


@pytest.mark.parametrize(
    ("archive", "written", "published"),
    [
        (["zlib"], ["zlib", "pip"], ["zlib"]),
        (["zlib", "pip >=23"], ["zlib", "pip"], ["zlib", "pip"]),
        (["zlib"], ["zlib", "pip >=23"], ["zlib", "pip >=23"]),
    ],
)
@pytest.mark.parametrize("unpacked", ["unpacked", "packed"])
def test_pip_that_the_client_added_to_python_goes(current, archive, written, published, unpacked):
    package = Package("python", "3.11.9", index={"depends": archive})
    current.add(package, depends=written)
    if unpacked == "packed":
        (current.cache / package.dist / "info" / "index.json").unlink()
    (record,) = harvest(current.info()).records
    assert list(record.depends) == published


def test_hashes_missing_in_the_environment_come_from_the_cache(current):
    current.add(THING, md5=None, sha256=None)
    current.remember(THING)
    assert harvest(current.info()).warnings == ()


def test_without_any_hash_the_name_has_to_do_and_is_warned_about(current):
    current.add(THING, md5=None, sha256=None)
    got = harvest(current.info())
    assert got.warnings == (
        "thing-1.0-0.conda: no hash was recorded; taken from the cache by its name",
    )
    assert len(got.records[0].raw["md5"]) == 32


def test_what_pip_installed_is_named(current):
    current.add(THING)
    site = current.prefix / "lib" / "python3.11" / "site-packages"
    for name in ("thing.dist-info", "requests-2.32.0.dist-info", "old_egg-1.0-py3.11.egg-info"):
        (site / name).mkdir(parents=True)
    current.add(Package("pipped"))
    change_meta(current, "pipped-1.0-0", channel="pypi")
    got = harvest(current.info())
    assert list(map(str, got.distributions)) == ["old-egg 1.0", "pipped 1.0", "requests 2.32.0"]
    assert [record.name for record in got.records] == ["thing"]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"url": f"{HOST}/noarch/thing-1.0-0.conda", "subdir": "linux-64"}, "noarch"),
        ({"url": "/tmp/thing-1.0-0.conda", "subdir": "noarch"}, "noarch"),
        ({"url": None, "subdir": None, "channel": f"{HOST}/noarch"}, "noarch"),
        ({"url": None, "subdir": None, "channel": "defaults"}, "linux-64"),
        ({"url": None, "subdir": None, "channel": "defaults", "noarch": "python"}, "noarch"),
        ({"fn": "thing-1.0-0", "url": None}, "linux-64"),
        ({"fn": None}, "linux-64"),
        ({"fn": None, "url": None, "link": None}, "linux-64"),
        ({"url": "thing-1.0-0.conda", "subdir": "noarch"}, "noarch"),
    ],
)
def test_where_a_package_belongs(current, changes, path):
    current.add(THING)
    change_meta(current, "thing-1.0-0", **changes)
    (record,) = harvest(current.info()).records
    assert record.path == f"{path}/thing-1.0-0.conda"
    assert record.raw["subdir"] == path


def test_hidden_and_open_tokens_in_urls(current):
    current.add(THING)
    change_meta(current, "thing-1.0-0", url="https://h/t/<TOKEN>/c/linux-64/thing-1.0-0.conda")
    current.add(DATA)
    change_meta(current, "data-2.0-py_0", url="https://h/t/s3cr3t/c/noarch/data-2.0-py_0.conda")
    got = harvest(current.info())
    assert [record.url for record in got.records] == [
        "https://h/c/linux-64/thing-1.0-0.conda",
        "https://h/t/s3cr3t/c/noarch/data-2.0-py_0.conda",
    ]
    assert got.secrets == {"s3cr3t"}


@pytest.mark.parametrize(
    ("changes", "dropped"),
    [
        ({"default_prefix": "/opt/conda"}, ()),
        ({"default_prefix": "/opt/conda"}, ("active_prefix",)),
        ({}, ("active_prefix", "env_vars")),
        ({"env_vars": {"CONDA_PREFIX": "<not set>"}}, ("active_prefix",)),
    ],
)
def test_the_active_prefix_is_found_wherever_it_stands(current, changes, dropped):
    current.add(THING)
    path = current.info(**changes)
    info = {key: value for key, value in json.loads(path.read_text()).items() if key not in dropped}
    path.write_text(json.dumps(info))
    assert len(harvest(path).records) == 1


@pytest.mark.parametrize(
    "changes", [{}, {"default_prefix": "/opt/conda"}, {"env_vars": {"CONDA_PREFIX": "<not set>"}}]
)
def test_no_active_environment_is_never_silently_another(current, changes):
    current.add(THING)
    with pytest.raises(UsageError, match="no environment was active") as caught:
        harvest(current.info(active_prefix=None, **changes))
    assert "activate the environment first" in caught.value.text()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_powershell_s_encodings_are_read(current, encoding):
    current.add(THING)
    path = current.info()
    path.write_text(path.read_text(), encoding=encoding)
    assert len(harvest(path).records) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not what `conda info --json` prints"),
        (b"{}", "the file lacks a prefix, pkgs_dirs, platform"),
        (b'{"default_prefix": "/x", "pkgs_dirs": [1], "platform": "linux-64"}', "lacks pkgs_dirs"),
        (b'{"default_prefix": "/x", "pkgs_dirs": "/p", "platform": "osx-64"}', "none that repack"),
        (b'{"default_prefix": "/x", "pkgs_dirs": "/p", "platform": {}}', "the file lacks platform"),
        (
            b'{"default_prefix": "C:\\\\env", "pkgs_dirs": ["C:\\\\p"], "platform": "win-64"}',
            r"there is no conda environment at C:",
        ),
    ],
)
def test_a_file_that_is_no_conda_info(tmp_path, content, said):
    path = tmp_path / "envinfo.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        harvest(path)


def test_an_empty_environment(current):
    with pytest.raises(UsageError, match="has no packages"):
        harvest(current.info())


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_damaged_file_in_conda_meta_is_named(current, content):
    current.add(THING)
    meta_file(current, "thing-1.0-0").write_bytes(content)
    with pytest.raises(UsageError, match=r"thing-1\.0-0\.json: not"):
        harvest(current.info())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="cuts the network off")
@pytest.mark.parametrize("age", ["current", "old"])
def test_a_real_conda_s_environment(tmp_path, age):
    conda = clients.need(age)
    form = "conda" if age == "current" else "tar.bz2"
    packages = tiny.PACKAGES if age == "current" else tuple(map(tiny.old, tiny.PACKAGES))
    channel = tiny.channel(tmp_path / "channel", packages, form)
    home, prefix = tmp_path / "home", tmp_path / "env"
    conda.install(channel_url(str(channel), windows=False), prefix, "tiny-app", home=home)
    condarc = home / "condarc.yml"
    condarc.write_text(f'pkgs_dirs: ["{home}/pkgs"]\n')
    active = {"CONDA_PREFIX": str(prefix), "CONDA_DEFAULT_ENV": str(prefix)}
    said = subprocess.run(
        [conda.path, "info", "--json"],
        env=clients.environment(home, CONDARC=str(condarc), **active),
        capture_output=True,
        check=True,
    )
    env_file = tmp_path / "envinfo.json"
    env_file.write_bytes(said.stdout)
    got = harvest(env_file)
    assert {record.dist for record in got.records} == {package.dist for package in packages}
    assert got.warnings == ()
    assert len(got.archives) == len(got.records)
    published = {}
    for subdir in ("noarch", "linux-64"):
        repodata = json.loads((channel / subdir / "repodata.json").read_text())
        published |= repodata["packages"] | repodata["packages.conda"]
    for record in got.records:
        # conda adds an empty `constrains`; conda 4.3 keeps no SHA-256 and no timestamp.
        raw = {key: value for key, value in record.raw.items() if key != "constrains"}
        upstream = dict(published[record.fn])
        if age == "old":
            del upstream["timestamp"]
        assert raw == upstream

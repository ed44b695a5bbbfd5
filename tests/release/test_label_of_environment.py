"""``repack label NAME --env envinfo.json``: everything but the name comes out of the JSON."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from repack.cli.main import run
from repack.errors import UsageError
from repack.inputs.conda_info import parse_env_info
from tests import tiny
from tests.environments import Environment
from tests.world import TOKEN, records, serving


class Desk:
    """An administrator's machine: an environment, its JSON, and an upstream that wants a token."""

    def __init__(self, root: Path, capsys, age="current") -> None:
        self.root, self.capsys = root, capsys
        self.environment = Environment(root, age)
        self.upstream = ""

    def fill(self, *packages, upstream: str) -> None:
        """Install packages as if they came from ``upstream``."""
        self.upstream = upstream
        form = "conda" if self.environment.age == "current" else "tar.bz2"
        for package in packages:
            archive = tiny.archive(package, self.environment.cache, form)
            data = archive.read_bytes()
            hashes = {h: hashlib.new(h, data).hexdigest() for h in ("md5", "sha256")}
            if form != "conda":
                del hashes["sha256"]
            meta = {**package.index(), **hashes, "size": len(data), **package.hotfix}
            meta |= {"fn": archive.name, "files": sorted(package.files)}
            meta["url"] = f"{upstream}/{package.subdir}/{archive.name}"
            path = self.environment.prefix / "conda-meta" / f"{package.dist}.json"
            path.write_text(json.dumps(meta))

    def json(self, channel: str | None = None, **changes) -> Path:
        channel = channel or self.upstream
        both = [f"{channel}/linux-64", f"{channel}/noarch"]
        return self.environment.info(**{"channels": both, **changes})

    def label(self, *arguments: str, name: str = "halkbank") -> tuple[int, dict, str]:
        """Build it; the code, what --json says, and what stands on stderr."""
        folders = ["--channels-dir", self.root / "out", "--store", self.root / "störe"]
        folders += ["--labels-dir", self.root / "labels"]
        command = ["label", name, "--env", self.root / "envinfo.json", "--prove", "solved"]
        self.capsys.readouterr()
        code = run([*map(str, command), *map(str, folders), "--json", *arguments])
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err
        return code, json.loads(out) if out else {}, err

    @property
    def channel(self) -> Path:
        return self.root / "out" / "halkbank"

    def profile(self) -> dict:
        return json.loads((self.channel / "repack/profile.json").read_text())


@pytest.fixture
def desk(tmp_path, capsys, monkeypatch):
    for name in ("REPACK_CHANNELS", "CONDARC", "CONDA_PREFIX", "CONDA_OVERRIDE_GLIBC"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Desk(tmp_path, capsys)


def test_no_label_file_is_needed(desk):
    desk.fill(*tiny.PACKAGES, upstream="https://conda.example.org/prometeia")
    virtual = [["__glibc", "2.28", "0"], ["__cuda", "12.4", "0"], ["__archspec", "1", "skylake"]]
    desk.json(virtual_pkgs=[*virtual, ["__conda", "26.7.1", "0"]])
    code, said, err = desk.label()
    assert code == 0, err
    assert said["warnings"] == []
    assert set(said["platforms"]) == {"linux-64"}
    text = json.dumps(desk.profile())
    for value in ("2.28", "12.4", "skylake", "26.7.1"):
        assert value in text
    assert not list(desk.root.glob("labels*"))
    assert desk.label()[1]["changed"] is False


@pytest.mark.usefixtures("desk")
def test_an_old_conda_gets_what_it_can_read(tmp_path, capsys):
    (tmp_path / "öld").mkdir()
    desk = Desk(tmp_path / "öld", capsys, "old")
    desk.fill(*map(tiny.old, tiny.PACKAGES), upstream="https://conda.example.org/prometeia")
    desk.json()
    code, _, err = desk.label()
    assert code == 0, err
    files = [p.name for p in desk.channel.rglob("*-*-*") if p.suffix in {".conda", ".bz2"}]
    assert files
    assert not [name for name in files if name.endswith(".conda")]
    assert "4.3.16" in json.dumps(desk.profile())


def test_conda_override_weighs_more_than_what_was_measured(desk, monkeypatch):
    monkeypatch.setenv("CONDA_OVERRIDE_GLIBC", "2.31")
    desk.fill(*tiny.PACKAGES, upstream="https://conda.example.org/prometeia")
    desk.json()
    assert desk.label()[0] == 0
    assert "2.31" in json.dumps(desk.profile())
    assert "2.36" not in json.dumps(desk.profile())


def test_a_label_file_decides_and_differences_are_said(desk):
    desk.fill(*tiny.PACKAGES, upstream="https://conda.example.org/prometeia")
    desk.json(conda_version="4.6.2")
    (desk.root / "labels").mkdir()
    label = {
        "label": "halkbank",
        "channels": ["https://other.example/c"],
        "platforms": {"linux-64": {"__glibc": "2.17"}},
    }
    (desk.root / "labels/halkbank.json").write_text(json.dumps(label))
    code, said, err = desk.label()
    assert code == 0, err
    warnings = "\n".join(said["warnings"])
    assert "https://conda.example.org/prometeia" in warnings
    assert "__glibc=2.36=0" in warnings
    assert "4.6.2" in warnings
    assert list((desk.channel / "noarch").glob("*.conda"))
    assert "2.17" in json.dumps(desk.profile())


def test_no_environment_was_active(desk):
    desk.fill(*tiny.PACKAGES, upstream="https://conda.example.org/prometeia")
    desk.json(active_prefix=None)
    code, _, err = desk.label()
    assert code == 2
    assert "activate the environment first" in err
    assert not desk.channel.exists()


def test_conda_4_3_in_base_is_no_active_environment():
    old = {"default_prefix": "/opt/conda", "root_prefix": "/opt/conda", "platform": "linux-64"}
    old |= {"pkgs_dirs": ["/p"], "env_vars": {"CONDA_DEFAULT_ENV": "<not set>"}}
    with pytest.raises(UsageError, match="no environment was active"):
        parse_env_info(json.dumps(old).encode(), "envinfo.json")
    active = {**old, "env_vars": {"CONDA_DEFAULT_ENV": "root"}}
    assert parse_env_info(json.dumps(active).encode(), "envinfo.json").prefix == "/opt/conda"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_junk_around_the_json_is_named(desk, encoding):
    path = desk.json()
    text = f"C:\\> activate halkbank\nWARNING: {{old}} conda\n{path.read_text()}\nDone.\n"
    path.write_bytes(text.encode(encoding))
    code, _, err = desk.label()
    assert code == 2
    assert "WARNING: {old} conda" in err
    assert "Done." in err


@pytest.mark.parametrize("text", ["", "{", "no json", "[]", "[1, {}]", "{}", '{"a": 1} {', "\0"])
def test_what_is_no_such_json_is_said(desk, text):
    (desk.root / "envinfo.json").write_text(text)
    code, _, err = desk.label()
    assert code == 2
    assert "envinfo.json" in err
    assert "conda info --json" in err or "around the JSON" in err


def test_a_key_that_stands_twice_is_named(desk):
    path = desk.json()
    path.write_text('{"platform": "win-64",' + path.read_text().lstrip()[1:])
    code, _, err = desk.label()
    assert code == 2
    assert "key 'platform' stands twice" in err


def test_micromamba_s_is_taken(desk):
    desk.fill(*tiny.PACKAGES, upstream="https://conda.example.org/prometeia")
    info = {
        "base environment": "/opt/mm",
        "channels": ["https://conda.example.org/prometeia/linux-64"],
        "env location": str(desk.environment.prefix),
        "environment": "halkbank (active)",
        "libmamba version": "2.3.0",
        "micromamba version": "2.3.0",
        "package cache": [str(desk.environment.cache)],
        "platform": "linux-64",
        "virtual packages": ["__unix=0=0", "__glibc=2.31=0", "__archspec=1=x86_64_v3"],
    }
    (desk.root / "envinfo.json").write_text(json.dumps(info))
    code, _, err = desk.label()
    assert code == 0, err
    assert "2.31" in json.dumps(desk.profile())
    (desk.root / "envinfo.json").write_text(json.dumps(info | {"env location": "-"}))
    code, _, err = desk.label()
    assert (code, "activate the environment first" in err) == (2, True)


def test_pixi_s_is_not_and_the_way_is_said(desk):
    info = {
        "platform": "linux-64",
        "virtual_packages": [],
        "environments_info": [],
        "cache_dir": "/c",
    }
    (desk.root / "envinfo.json").write_text(json.dumps(info))
    code, _, err = desk.label()
    assert code == 2
    assert "from: pixi.lock" in err


class TestGoneFromTheCaches:
    """The archives are upstream only, behind a token that conda writes as ``<TOKEN>``."""

    @pytest.fixture
    def host(self, desk):
        tiny.channel(desk.root / "up" / "private", tiny.PACKAGES)
        with serving(desk.root / "up") as (url, self.asked):
            desk.fill(*tiny.PACKAGES, upstream=f"{url}/private")
            for package in tiny.PACKAGES:
                fn = package.dist + desk.environment.suffix
                served = desk.root / "up/private" / package.subdir / fn
                served.write_bytes((desk.environment.cache / fn).read_bytes())
                (desk.environment.cache / fn).unlink()
            desk.json(f"{url}/t/<TOKEN>/private")
            yield url

    def check(self, desk, said):
        assert said[0] == 0, said[2]
        for file in (path for path in desk.root.joinpath("out").rglob("*") if path.is_file()):
            assert TOKEN.encode() not in file.read_bytes(), file
        assert records(desk.channel, "noarch")

    def test_repack_channels_holds_the_token(self, desk, host, monkeypatch):
        monkeypatch.setenv("REPACK_CHANNELS", f"https://x.example/c {host}/t/${{TK}}/private")
        monkeypatch.setenv("TK", TOKEN)
        self.check(desk, desk.label())

    @pytest.mark.parametrize("place", ["env", "home/.condarc", "home/.conda/condarc.d/a.yml"])
    def test_a_condarc_holds_it(self, desk, host, place, monkeypatch):
        path = desk.root / place
        if place == "env":
            path = path / ".condarc"
        path.parent.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("TK", TOKEN)
        path.write_text(f"channels:\n  - {host}/t/${{TK}}/private\n  - defaults\n")
        self.check(desk, desk.label())

    def test_the_alias_holds_it(self, desk, host):
        (desk.root / "home/.condarc").write_text(f"channel_alias: {host}/t/{TOKEN}\n")
        self.check(desk, desk.label())

    def test_without_one_all_missing_are_named_with_why(self, desk, host):
        code, _, err = desk.label()
        assert code == 5
        for package in tiny.PACKAGES:
            assert package.dist in err
        assert "wants a token" in err
        assert "REPACK_CHANNELS" in err
        assert self.asked == []

    def test_a_token_goes_to_its_own_channel_only(self, desk, host):
        (desk.root / "home/.condarc").write_text(f"channels: ['{host}/t/{TOKEN}/priv']\n")
        assert desk.label()[0] == 5
        assert not [path for path in self.asked if TOKEN in path]

    def test_an_unset_variable_is_said(self, desk, host, monkeypatch):
        monkeypatch.setenv("REPACK_CHANNELS", f"{host}/t/${{NOT_SET_TK}}/private")
        code, _, err = desk.label()
        assert code == 3
        assert "NOT_SET_TK" in err

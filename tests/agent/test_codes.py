"""Bad input: each gets its exit code from the table, and the target stays as it was."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys

import pytest

from repack.agent.install import install
from repack.cli.main import run
from repack.host import now
from repack.license import factors as host
from repack.license.operations import LicenseQuery
from repack.license.operations import install as licensing_install
from repack.license.store import LicenseStore
from tests import licensing
from tests.agent import bank as banks
from tests.agent.bank import refuse, undisturbed


def own(path):
    """Give a hard-linked file of the medium its own content before it is damaged."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    return path


def package(bank, pattern="bank-manifest-2-*.conda"):
    return own(next(bank.medium(2).rglob(pattern)))


def test_no_metadata(running):
    shutil.rmtree(running.medium(2) / "bank/repack/metadata")
    assert refuse(running, 14)["error"] == "metadata-not-found"


def test_a_part_of_the_metadata_is_missing(running):
    (running.medium(2) / "bank/repack/metadata/ci.json").unlink()
    assert refuse(running, 14)["error"] == "metadata-not-found"


def test_metadata_that_is_older_than_seen(running):
    assert running.install(3)[0] == 0
    assert refuse(running, 11, 2)["error"] == "rollback"


def test_metadata_that_was_changed(running):
    path = own(running.medium(2) / "bank/repack/metadata/ci.json")
    path.write_bytes(path.read_bytes().replace(b'"release": 2', b'"release": 3'))
    assert refuse(running, 11)["exit_code"] == 11


def test_metadata_of_a_later_specification(running):
    path = own(running.medium(2) / "bank/repack/metadata/timestamp.json")
    text = path.read_text()
    assert '"spec_version": "1.' in text
    path.write_text(text.replace('"spec_version": "1.', '"spec_version": "2.'))
    assert refuse(running, 4)["error"] == "metadata-unsupported"


def test_signed_by_too_few(running):
    path = own(running.medium(2) / "bank/repack/metadata/timestamp.json")
    text = path.read_text().replace('"sig": "', '"sig": "00')
    path.write_text(text)
    assert refuse(running, 11)["error"] in {"threshold", "metadata-invalid"}


def test_another_root_than_the_pinned_one(running, tmp_path, monkeypatch):
    other = tmp_path / "other"
    monkeypatch.chdir(tmp_path)
    other.mkdir()
    monkeypatch.chdir(other)
    made = banks.world(other)
    made.build(packages=["tiny-data"])
    shutil.copytree(made.channels, running.media / "4")
    assert refuse(running, 11, 4)["error"] == "threshold"


def test_a_medium_for_another_label(running):
    (running.medium(2) / "bank").rename(running.medium(2) / "insurance")
    assert refuse(running, 14)["error"] == "metadata-not-found"


def test_a_label_whose_metadata_is_anothers(bank):
    bank.configure(provision={"label": "insurance", "type": "ci"})
    code, said = bank.agent("install", "--src-dir", str(bank.medium(2) / "bank"))
    assert (code, said["error"]) == (11, "mix-and-match")


def test_no_release_for_this_platform(bank, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = banks.world(tmp_path / "linux", platforms={"linux-64": {}})
    made.build(packages=["tiny-data"], signing={"keys": str(tmp_path / "keys")})
    bank.configure(
        provision={"label": "bank", "type": "ci", "platform": "win-64"},
        trust={"root": str(made.channel / "repack/metadata/1.root.json")},
    )
    code, said = bank.agent("install", "--src-dir", str(made.channels))
    assert (code, said["error"]) == (6, "no-match")


@pytest.mark.parametrize(
    ("provision", "error"),
    [({"type": "production"}, "wrong-type"), ({}, "wrong-type")],
)
def test_a_release_signed_for_ci_is_not_for_production(bank, provision, error):
    bank.configure(provision={"label": "bank", **provision})
    code, said = bank.install(1)
    assert (code, said["error"]) == (15, error)


def test_a_release_promoted_for_another_tag(bank, vendor, tmp_path, monkeypatch):
    monkeypatch.chdir(vendor.parent)
    shutil.copytree(vendor / "3", tmp_path / "promoted")
    place = ["--channels-dir", str(tmp_path / "promoted")]
    assert run(["promote", "bank", "--release", "3", "--tag", "north", *place]) == 0
    source = ["--src-dir", str(tmp_path / "promoted")]
    bank.configure(provision={"label": "bank", "tag": "south"})
    code, said = bank.agent("install", *source)
    assert (code, said["error"]) == (15, "wrong-tag")
    bank.configure(provision={"label": "bank", "tag": "north"})
    assert bank.agent("install", *source)[0] == 0


@pytest.mark.parametrize("name", ["9", "nobody@2", "two"])
def test_no_such_release(running, name):
    assert refuse(running, 20, 2, "--name", name)["error"] == "no-such-release"


@pytest.mark.parametrize("how", ["missing", "truncated", "swapped", "a folder"])
def test_packages_that_are_not_whole(running, how):
    path = package(running)
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[:-1])
    elif how == "swapped":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        path.unlink()
        if how == "a folder":
            path.mkdir()
    assert refuse(running, 8)["error"] == "content-missing"
    assert running.agent("check", "--src-dir", str(running.medium(2)))[0] == 8


@pytest.mark.parametrize(
    "name",
    ["releases/2/manifest.json", "integrity.json", "install.json", "../noarch/repodata.json"],
)
@pytest.mark.parametrize("how", ["missing", "changed"])
def test_papers_that_are_not_whole(running, name, how):
    folder = running.medium(2) / "bank/repack"
    paths = [folder / name]
    if "manifest" in name:
        paths.append(folder / "manifest.json")
    for path in paths:
        data = own(path).read_bytes()
        path.write_bytes(data.replace(b"a", b"b", 1))
        if how == "missing":
            path.unlink()
    assert refuse(running, 8)["error"] == "content-missing"


def test_a_medium_that_is_pulled_midway(running):
    site = running.site()
    pulled = running.medium(2)

    class Pulling:
        """Takes the medium away when the second package is copied."""

        @contextlib.contextmanager
        def phase(self, what, _total, _unit):
            def advance(_done):
                if what == "copy" and pulled.exists():
                    pulled.rename(pulled.with_name("pulled"))

            yield advance

        def note(self, _text):
            return

    with undisturbed(running), pytest.raises(Exception) as caught:
        install(running.site(progress=Pulling()), running.medium(2))
    assert caught.value.exit_code == 8
    assert site.storage.load().phase == "idle"


def test_wrong_settings_are_all_listed(bank):
    folder = bank.root / "conf.d"
    folder.mkdir()
    (folder / "10.toml").write_text('[provision]\nlabel = "Bank!"\ntyp = "ci"\n')
    (folder / "20.toml").write_text('[storage]\nkeep = "3"\n\n[health]\ncommand = "true"\n')
    (folder / "30.toml").write_text("[provision]\nlabel = \n")
    bank.config = folder
    code, said = bank.agent("status")
    assert (code, said["error"]) == (2, "settings")
    where = [row["where"].rpartition("/")[2] for row in said["problems"]]
    assert where == ["10.toml:2", "10.toml:3", "20.toml:2", "20.toml:5", "30.toml:2"]


def test_a_journal_that_somebody_changed(running):
    (running.folder / "state/journal.json").write_text("{}")
    code, said = running.install(2)
    assert (code, said["error"], said["what"]) == (2, "place", "the journal is damaged")


def test_a_release_that_asks_for_a_licence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPACK_LICENSE_STORE", raising=False)
    bank = banks.Bank(tmp_path)
    banks.build(banks.world(tmp_path, license="required"), tmp_path / "media", releases=1)
    code, said = bank.install(1)
    assert (code, said["error"]) == (6, "license")
    store, factors = tmp_path / "store", licensing.write_factors(tmp_path / "factors.json")
    device = host.read_factors(factors)
    asking = LicenseQuery(LicenseStore(store), device, now(), licensing.KEY)
    term = {"not_before": "2020-01-01", "not_after": "2099-12-31"}
    mine = {"fingerprints": [str(device.fingerprint())], **term}
    licensing_install(asking, licensing.license_of(**mine))
    monkeypatch.setenv("OEM_LICENSE_HMAC_KEY", f"hex:{licensing.KEY.secret.hex()}")
    given = ["--license-store", str(store), "--factors", str(factors)]
    code, said = bank.install(1, *given)
    assert (code, said["error"]) == (6, "license"), "the licence is for another label"
    assert bank.in_use is None
    licensing_install(asking, licensing.license_of(**mine, license_id="LIC-2", label="bank"))
    code, said = bank.install(1, *given)
    assert (code, bank.in_use) == (0, 1), said


def test_the_settings_name_the_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPACK_LICENSE_STORE", raising=False)
    factors = licensing.write_factors(tmp_path / "factors.json")
    bank = banks.Bank(tmp_path)
    bank.configure(
        provision={"label": "bank", "type": "ci", "platform": "linux-64", "license_store": "mine"}
    )
    banks.build(banks.world(tmp_path, license="required"), tmp_path / "media", releases=1)
    device = host.read_factors(factors)
    mine = {"fingerprints": [str(device.fingerprint())], "label": "bank"}
    mine |= {"not_before": "2020-01-01", "not_after": "2099-12-31"}
    asking = LicenseQuery(LicenseStore(bank.config.parent / "mine"), device, now(), licensing.KEY)
    licensing_install(asking, licensing.license_of(**mine))
    monkeypatch.setenv("OEM_LICENSE_HMAC_KEY", f"hex:{licensing.KEY.secret.hex()}")
    other = ["--license-store", str(tmp_path / "none")]
    code, said = bank.install(1, "--factors", str(factors), *other)
    assert (code, said["where"]) == (2, other[1]), "what is typed goes before what is set"
    monkeypatch.chdir(tmp_path / "media")  # the path is relative to the settings
    code, said = bank.install(1, "--factors", str(factors))
    assert (code, bank.in_use) == (0, 1), said


def test_the_agent_works_without_network(bank):
    cut = ["unshare", "--net"]
    if subprocess.run([*cut, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    command = [*cut, sys.executable, "-m", "repack", "target", "install"]
    command += ["--config", str(bank.config), "--src-dir", str(bank.medium(1))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert bank.in_use == 1

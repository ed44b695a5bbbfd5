"""Update packages: the documented commands as they are typed, and what must be refused."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from base64 import b64decode
from pathlib import Path

import pytest

from scripts import update_package

ROOT = Path(__file__).resolve().parents[2]
KEY = bytes(range(48))
VARIABLE = "BOT_CORE_UPDATE_HMAC_KEY"
# The document's own command blocks; the patch is made by what the test adds.
BUILD = """
python3 scripts/update_package.py build \
  --output-dir var/updates/packages/demo \
  --package-id desktop-shell --version 2024.05 --platform linux-x86_64 --runtime bot-shell \
  --payload build/payload.tar \
  --diff build/delta.patch --base-id desktop-shell@2024.04 \
  --integrity-manifest build/integrity.json \
  --key "hex:@KEY@" --key-id oem-updates
"""
VERIFY = """
python3 scripts/update_package.py verify \
  --package-dir var/updates/packages/demo \
  --key "$BOT_CORE_UPDATE_HMAC_KEY"
"""
DEMO = "var/updates/packages/demo"


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


OLD = {"bin/shell": os.urandom(200_000), "share/text": b"old text\n" * 1000}
NEW = {**OLD, "share/text": b"new text\n" * 1000, "share/more": b"more"}


class Desk:
    """A folder in which the commands run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "build").mkdir(parents=True)
        (root / "build/payload.tar").write_bytes(tar_of(NEW))
        (root / "build/old.tar").write_bytes(tar_of(OLD))
        rows = {name: hashlib.sha256(data).hexdigest() for name, data in NEW.items()}
        (root / "build/integrity.json").write_text(json.dumps(rows))
        self.variables: dict[str, str] = {}

    def run(self, command: str, code: int = 0) -> dict:
        text = command.replace("@KEY@", KEY.hex())
        words = shlex.split(os.path.expandvars(text.replace(f"${VARIABLE}", f"hex:{KEY.hex()}")))
        assert words[:2] == ["python3", "scripts/update_package.py"]
        done = subprocess.run(
            [sys.executable, ROOT / "scripts/update_package.py", *words[2:]],
            cwd=self.root,
            env={k: v for k, v in os.environ.items() if k != VARIABLE} | self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return self.check(done.returncode, code, done.stdout)

    @staticmethod
    def check(ended: int, code: int, printed: str) -> dict:
        assert ended == code, printed
        document = json.loads(printed)
        assert document["status"] == ("ok" if code == 0 else "error")
        assert isinstance(document["warnings"], list)
        for row in document["audit"]:
            assert set(row) == {"check", "target", "ok", "detail"}
        return document

    def short(self, words: str, code: int = 0) -> dict:
        """The same command in this process, which is faster."""
        printed = io.StringIO()
        with (
            contextlib.chdir(self.root),
            contextlib.redirect_stdout(printed),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.delenv(VARIABLE, raising=False)
            for name, value in self.variables.items():
                patch.setenv(name, value)
            ended = update_package.main(shlex.split(words.replace("@KEY@", KEY.hex())))
        return self.check(ended, code, printed.getvalue())

    def build(
        self, extra: str = "--diff-from build/old.tar --base-id desktop-shell@2024.04"
    ) -> dict:
        return self.short(
            f"build --output-dir {DEMO} --package-id desktop-shell --version 2024.05"
            " --platform linux-x86_64 --runtime bot-shell --payload build/payload.tar"
            f" --integrity-manifest build/integrity.json {extra}"
        )

    @property
    def demo(self) -> Path:
        return self.root / DEMO

    def failed(self, words: str = f"verify --package-dir {DEMO}", code: int = 6) -> set[str]:
        """The names of the checks that failed."""
        return {row["check"] for row in self.short(words, code)["audit"] if not row["ok"]}


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "a folder with blänks")


def test_the_documented_commands(desk):
    (desk.root / "build/delta.patch").write_bytes(b"made by another tool")
    built = desk.run(BUILD)["manifest"]
    assert {k: built[k] for k in ("id", "version", "platform", "runtime")} == {
        "id": "desktop-shell",
        "version": "2024.05",
        "platform": "linux-x86_64",
        "runtime": "bot-shell",
    }
    rows = {row["path"]: row for row in built["artifacts"]}
    payload = (desk.demo / "payload.tar").read_bytes()
    assert rows["payload.tar"] == {
        "path": "payload.tar",
        "sha384": hashlib.sha384(payload).hexdigest(),
        "sha256": hashlib.sha256(payload).hexdigest(),
        "size": len(payload),
        "type": "full",
    }
    assert rows["delta.patch"]["type"] == "diff"
    assert rows["delta.patch"]["base_id"] == "desktop-shell@2024.04"
    assert built["integrity_manifest"]["path"] == "integrity.json"
    document = json.loads((desk.demo / "manifest.json").read_bytes())
    assert document == built
    signature = document.pop("signature")
    assert (signature["algorithm"], signature["key_id"]) == ("hmac-sha384", "oem-updates")
    signed = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert b64decode(signature["value"]) == hmac.digest(KEY, signed.encode(), "sha384")
    verified = desk.run(VERIFY)
    assert verified["manifest"] == built
    assert not verified["warnings"]


def test_the_audit_has_every_check_in_order(desk):
    desk.build('--key "hex:@KEY@"')
    audit = desk.run(VERIFY)["audit"]
    assert all(row["ok"] for row in audit)
    assert [(row["check"], row["target"]) for row in audit] == [
        ("manifest", "manifest.json"),
        ("signature", "manifest.json"),
        ("exists", "payload.tar"),
        ("size", "payload.tar"),
        ("sha384", "payload.tar"),
        ("sha256", "payload.tar"),
        ("sha256", "integrity.json"),
        ("integrity_manifest", "integrity.json"),
        ("file", "payload.tar:bin/shell"),
        ("file", "payload.tar:share/text"),
        ("file", "payload.tar:share/more"),
    ]


@pytest.mark.parametrize("form", ["hex", "base64", "bare", "file", "env", "named"])
def test_the_variable_serves_in_every_key_syntax(desk, form):
    from base64 import b64encode

    text = b64encode(KEY).decode()
    (desk.root / "key").write_bytes(KEY)
    desk.variables["OTHER"] = text
    desk.variables[VARIABLE] = {
        "hex": f"hex:{KEY.hex()}",
        "base64": f"base64:{text}",
        "bare": text,
        "file": f"file:{desk.root / 'key'}",
        "env": "env:OTHER",
        "named": f"oem-updates=hex:{KEY.hex()}",
    }[form]
    desk.build()
    desk.variables.clear()
    assert "signature" not in [r["check"] for r in desk.run(VERIFY)["audit"] if not r["ok"]]


def test_a_signature_without_a_key_warns(desk):
    desk.build('--key "hex:@KEY@"')
    assert any(
        "not checked" in text for text in desk.short(f"verify --package-dir {DEMO}")["warnings"]
    )


def test_an_unsigned_package_with_a_key(desk):
    desk.build()
    assert desk.failed(f'verify --package-dir {DEMO} --key "hex:@KEY@"') == {"signature"}
    desk.short(f"verify --package-dir {DEMO}")


def test_another_key(desk):
    desk.build('--key "hex:@KEY@"')
    assert desk.failed(f"verify --package-dir {DEMO} --key hex:{'ab' * 48}") == {"signature"}


def test_the_base_must_be_the_one_installed(desk):
    desk.build()
    desk.short(f"verify --package-dir {DEMO} --base-id desktop-shell@2024.04")
    words = f"verify --package-dir {DEMO} --base-id desktop-shell@2024.03"
    assert desk.failed(words) == {"base_id"}


def test_a_patch_is_made_and_applied(desk):
    desk.build('--diff-from build/old.tar --base-id desktop-shell@2024.04 --key "hex:@KEY@"')
    patch = desk.demo / "payload.patch"
    assert patch.stat().st_size < 5_000
    (desk.demo / "payload.tar").unlink()  # a delivery of the patch alone
    words = (
        f'apply --package-dir {DEMO} --base build/old.tar --output out/new.tar --key "hex:@KEY@"'
    )
    audit = desk.short(words)["audit"]
    assert [row["check"] for row in audit][-4:] == ["apply", "size", "sha384", "sha256"]
    assert (desk.root / "out/new.tar").read_bytes() == tar_of(NEW)


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs the zstd program")
def test_the_zstd_program_applies_it(desk):
    desk.build()
    subprocess.run(
        [
            "zstd",
            "-q",
            "-d",
            "--patch-from=build/old.tar",
            f"{DEMO}/payload.patch",
            "-o",
            "new.tar",
        ],
        cwd=desk.root,
        check=True,
    )
    assert (desk.root / "new.tar").read_bytes() == tar_of(NEW)


def test_another_base_makes_nothing(desk):
    desk.build()
    (desk.root / "build/old.tar").write_bytes(tar_of({**OLD, "bin/shell": os.urandom(200_000)}))
    (desk.root / "new.tar").write_bytes(b"what was there")
    words = f"apply --package-dir {DEMO} --base build/old.tar --output new.tar"
    assert "apply" in desk.failed(words)
    assert (desk.root / "new.tar").read_bytes() == b"what was there"


@pytest.mark.parametrize("damage", ["cut", "longer", "flipped", "another kind"])
def test_a_damaged_patch(desk, damage):
    desk.build()
    patch = desk.demo / "payload.patch"
    data = patch.read_bytes()
    document = json.loads((desk.demo / "manifest.json").read_bytes())
    new = {
        "cut": data[:-20],
        "longer": data + b"x",
        "flipped": data[:40] + bytes([data[40] ^ 1]) + data[41:],
        "another kind": b"BSDIFF40" + data[8:],
    }[damage]
    patch.write_bytes(new)
    words = f"apply --package-dir {DEMO} --base build/old.tar --output new.tar"
    assert desk.failed(words) & {"size", "sha384", "sha256"}
    # Even where the manifest says that it is right, as an unsigned one may.
    for row in document["artifacts"]:
        if row["path"] == "payload.patch":
            row |= {"size": len(new), "sha256": hashlib.sha256(new).hexdigest()}
            row["sha384"] = hashlib.sha384(new).hexdigest()
    (desk.demo / "manifest.json").write_text(json.dumps(document))
    assert desk.failed(words) == {"apply"}
    assert not (desk.root / "new.tar").exists()


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def change(desk: Desk, **fields: object) -> None:
    path = desk.demo / "manifest.json"
    document = json.loads(path.read_bytes()) | fields
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "checks"),
    [
        (
            lambda d: (d.demo / "payload.tar").write_bytes(b"x"),
            {"size", "sha384", "sha256", "payload"},
        ),
        (lambda d: append(d.demo / "payload.tar"), {"size", "payload"}),
        (lambda d: (d.demo / "payload.tar").unlink(), {"exists", "payload"}),
        (lambda d: (d.demo / "integrity.json").write_text("{}"), {"sha256"}),
        (lambda d: (d.demo / "integrity.json").unlink(), {"integrity_manifest"}),
        (lambda d: change(d, version="2024.06"), {"signature"}),
        (lambda d: (d.demo / "manifest.json").write_text('{"id": "a", "id": "b"}'), {"manifest"}),
        (lambda d: (d.demo / "manifest.json").write_text("no json"), {"manifest"}),
        (lambda d: change(d, artifacts=[]), {"manifest"}),
    ],
)
def test_tampering_is_found(desk, damage, checks):
    desk.build('--key "hex:@KEY@"')
    damage(desk)
    assert desk.failed(f'verify --package-dir {DEMO} --key "hex:@KEY@"') == checks


@pytest.mark.parametrize("path", ["../payload.tar", "/etc/passwd", "a/../../b", "C:\\x"])
def test_a_path_that_leads_out(desk, path):
    desk.build()
    row = {"path": path, "sha256": "0" * 64, "size": 1, "type": "full"}
    change(desk, artifacts=[row])
    assert desk.failed() == {"manifest"}


@pytest.mark.parametrize(
    "row",
    [
        {"type": "nonsense"},
        {"type": "diff", "base_id": None},
        {"sha256": None, "sha384": None},
        {"size": -1},
        {"size": "1"},
    ],
)
def test_a_row_that_is_wrong(desk, row):
    desk.build()
    first = json.loads((desk.demo / "manifest.json").read_bytes())["artifacts"][0]
    new = {k: v for k, v in (first | row).items() if v is not None}
    change(desk, artifacts=[new])
    assert desk.failed() == {"manifest"}


def test_one_hash_is_enough(desk):
    desk.build()
    rows = json.loads((desk.demo / "manifest.json").read_bytes())["artifacts"]
    for row in rows:
        del row["sha384"]
    change(desk, artifacts=rows)
    desk.short(f"verify --package-dir {DEMO}")


def test_files_of_the_payload_against_the_list(desk):
    rows = {name: hashlib.sha256(data).hexdigest() for name, data in NEW.items()}
    rows["share/text"] = "0" * 64
    rows["share/gone"] = "1" * 64
    del rows["share/more"]
    (desk.root / "build/integrity.json").write_text(json.dumps(rows))
    words = (
        f"build --output-dir {DEMO} --package-id a --version 1 --platform p --runtime r"
        " --payload build/payload.tar --integrity-manifest build/integrity.json"
    )
    document = desk.short(words, 6)
    wrong = {row["target"] for row in document["audit"] if not row["ok"]}
    assert wrong == {f"payload.tar:share/{name}" for name in ("text", "more", "gone")}


def test_links_and_pipes_are_no_payload(desk):
    desk.build()
    for make in (
        lambda path: path.symlink_to(desk.root / "build/payload.tar"),
        os.mkfifo,
        Path.mkdir,
    ):
        path = desk.demo / "payload.tar"
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        assert "exists" in desk.failed()


def test_scan(desk):
    desk.build()
    shutil.copytree(desk.demo, desk.demo.with_name("second"))
    (desk.demo.parent / "notes").mkdir()
    document = desk.short("scan --packages-dir var/updates/packages")
    assert [p["folder"] for p in document["packages"]] == ["demo", "second"]
    assert document["packages"][0]["manifest"]["id"] == "desktop-shell"
    (desk.demo.with_name("second") / "payload.tar").write_bytes(b"")
    broken = desk.short("scan --packages-dir var/updates/packages", 6)
    assert {r["target"].split("/")[0] for r in broken["audit"] if not r["ok"]} == {"second"}


@pytest.mark.parametrize(
    "words",
    [
        "verify --package-dir missing",
        "scan --packages-dir missing",
        "apply --package-dir missing --base a --output b",
        "verify",
        "nonsense",
        "",
        f"build --output-dir {DEMO}",
    ],
)
def test_usage_is_told_as_json(desk, words):
    assert desk.short(words, 2)["errors"]


@pytest.mark.parametrize(
    ("extra", "word"),
    [
        ("--diff-from build/old.tar", "--base-id"),
        ("--base-id a@1", "--diff"),
        ("--diff-from build/old.tar --diff build/old.tar --base-id a@1", "exclude"),
        ("--metadata nonsense", "--metadata"),
        ("--metadata []", "--metadata"),
        ('--metadata {"id":"x"}', "id"),
        ("--key-id a", "--key"),
        ("--integrity-manifest build/gone.json", "gone.json"),
    ],
)
def test_what_does_not_go_together(desk, extra, word):
    quoted = extra.replace('{"id":"x"}', '\'{"id":"x"}\'')
    words = (
        f"build --output-dir {DEMO} --package-id a --version 1 --platform p --runtime r"
        f" --payload build/payload.tar {quoted}"
    )
    assert word in "".join(desk.short(words, 2)["errors"])
    assert not desk.demo.exists()


@pytest.mark.parametrize("key", ["hex:", "hex:zz", "env:NOT_SET_AT_ALL", "file:missing"])
def test_a_key_that_is_none(desk, key):
    desk.build()
    document = desk.short(
        f"verify --package-dir {DEMO} --key {key}", 2 if key == "file:missing" else 6
    )
    assert document["errors"]


def test_metadata_is_signed(desk):
    desk.build('--metadata \'{"channel": "stable"}\' --key "hex:@KEY@"')
    assert desk.run(VERIFY)["manifest"]["channel"] == "stable"
    change(desk, channel="beta")
    assert desk.failed(f'verify --package-dir {DEMO} --key "hex:@KEY@"') == {"signature"}


def test_a_second_build_replaces_the_first(desk):
    desk.build()
    desk.build("")
    assert sorted(p.name for p in desk.demo.iterdir()) == [
        "integrity.json",
        "manifest.json",
        "payload.tar",
    ]
    assert [p.name for p in desk.demo.parent.iterdir()] == ["demo"]


def test_another_folder_is_not_replaced(desk):
    desk.demo.mkdir(parents=True)
    (desk.demo / "notes.txt").write_text("mine")
    words = (
        f"build --output-dir {DEMO} --package-id a --version 1 --platform p --runtime r"
        " --payload build/payload.tar"
    )
    desk.short(words, 2)
    assert (desk.demo / "notes.txt").read_text() == "mine"


def test_repack_verify_understands_it(desk):
    desk.build('--key "hex:@KEY@"')

    def verify(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "repack", "verify", str(desk.demo), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = verify("--key", f"hex:{KEY.hex()}", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["manifest"]["id"] == "desktop-shell"
    assert "desktop-shell 2024.05" in verify().stdout
    (desk.demo / "payload.tar").write_bytes(b"")
    done = verify()
    assert done.returncode == 6
    assert "payload.tar" in done.stdout

"""Reading label files: every key, and every mistake with its line."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from repack.conda.spdx import LicencePolicy
from repack.conda.virtual_packages import TargetProfile
from repack.errors import LabelError
from repack.label.label import BundleSpec, Installer
from repack.label.reader import LabelContext, parse_label
from repack.names import Digest

FULL = """\
label: halkbank
description: HalkBank, risk desk
channels:                               # in priority order; strict priority
  - https://conda.example.org/prometeia
  - https://conda.example.org/t/${HALKBANK_TOKEN}/prometeia/label/halkbank
packages: [ratingpro, "pytho >=4.1"]    # MatchSpecs
platforms:                              # subdir -> target profile (may be empty)
  win-64: {}
  linux-64: {__glibc: "2.17", __linux: "3.10"}
constraints: ["numpy <3"]               # MatchSpecs that bound but do not pull in
exclude_newer: 2026-11-01               # optional
package_format: keep                    # or tar.bz2, for conda < 4.7 on the target
add_pip: true
bundles:
  models:     {path: data/models, version: "2024.10.0"}
  strategies: {path: data/strategies, version: "2024.10.0", compression_level: 19, license: MIT}
after_install: restart                  # none | restart | reboot
health_check: [python, -c, "import ratingpro"]
signing:
  hmac: env:REPACK_HMAC_KEY
  key_id: oem-updates
  keys: keys/halkbank
  expiry: {timestamp: 400}
  thresholds: {root: 2}
agent: false
installers:
  - {url: https://example.org/Miniforge3.sh, sha256: "%s"}
strict: false
licences: {deny: [GPL-3.0-only], unknown: deny}
license: required
keep_releases: 5
""" % ("AB" * 32)

MINIMAL = """\
label: halkbank
channels: [https://conda.example.org/prometeia]
packages: [ratingpro]
platforms: {linux-64: {}}
"""


def surroundings(**changes):
    given = {
        "environment": {"HALKBANK_TOKEN": "tok-1234567", "REPACK_HMAC_KEY": "k" * 32},
        "check_spec": lambda text: "strange operator" if ">>" in text else None,
        "locate": lambda path: f"/base/{path.removeprefix('./')}",
        "expect_name": "halkbank",
    }
    return LabelContext(**(given | changes))


def read(text, where="halkbank.yaml", **changes):
    data = text if isinstance(text, bytes) else text.encode()
    return parse_label(data, where, surroundings(**changes))


def problems(text, where="halkbank.yaml", **changes):
    with pytest.raises(LabelError) as caught:
        read(text, where, **changes)
    return [str(problem) for problem in caught.value.problems]


def with_line(line):
    """The minimal label with one more line, the fifth."""
    return MINIMAL + line + "\n"


def test_every_key_is_read():
    label = read(FULL)
    assert label.name == "halkbank"
    assert label.description == "HalkBank, risk desk"
    assert label.channels == (
        "https://conda.example.org/prometeia",
        "https://conda.example.org/t/tok-1234567/prometeia/label/halkbank",
    )
    assert label.packages == ("ratingpro", "pytho >=4.1")
    assert list(label.platforms) == ["win-64", "linux-64"]
    assert label.constraints == ("numpy <3",)
    assert label.exclude_newer == dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
    assert label.package_format == "keep"
    assert label.bundles == {
        "models": BundleSpec("/base/data/models", "2024.10.0"),
        "strategies": BundleSpec("/base/data/strategies", "2024.10.0", 19, "MIT"),
    }
    assert label.after_install == "restart"
    assert label.health_check == ("python", "-c", "import ratingpro")
    assert (label.signing.hmac, label.signing.key_id) == ("env:REPACK_HMAC_KEY", "oem-updates")
    assert label.signing.keys == "/base/keys/halkbank"
    assert (label.signing.expiry, label.signing.thresholds) == ({"timestamp": 400}, {"root": 2})
    assert label.installers == (Installer("https://example.org/Miniforge3.sh", Digest("ab" * 32)),)
    assert label.licences == LicencePolicy(("GPL-3.0-only",), "deny")
    assert (label.license, label.keep_releases) == ("required", 5)
    assert (label.add_pip, label.agent, label.strict) == (True, False, False)
    assert label.secrets == {"tok-1234567"}
    assert label.notes == ()


def test_what_is_left_out_has_its_default():
    label = read(MINIMAL)
    assert label.platforms == {"linux-64": TargetProfile.of("linux-64")}
    assert (label.package_format, label.after_install, label.license) == ("keep", "none", "none")
    assert (label.add_pip, label.agent, label.strict, label.keep_releases) == (
        True,
        False,
        False,
        3,
    )
    assert label.exclude_newer is None
    assert label.source is None
    assert label.secrets == frozenset()


def test_a_key_without_a_value_counts_as_left_out():
    assert read(with_line("constraints:\nexclude_newer:\nbundles:")) == read(MINIMAL)


def test_json_reads_the_same():
    document = {
        "$schema": "label.schema.json",
        "label": "halkbank",
        "channels": ["https://conda.example.org/prometeia"],
        "packages": ["ratingpro"],
        "platforms": {"linux-64": {}},
    }
    assert read(json.dumps(document, indent="\t"), "halkbank.json") == read(MINIMAL)


def test_json_mistakes_have_lines_too():
    text = '{\n "label": "halkbank",\n "chanels": [],\n "platforms": {"linux-64": {}}\n}'
    found = problems(text, "halkbank.json")
    assert "halkbank.json:3: unknown key 'chanels' (did you mean 'channels'?)" in found


def test_all_mistakes_of_a_file_come_at_once():
    found = problems("label: other\nchanels: [x]\nplatforms: {mac: {}}\nkeep_releases: many\n")
    assert len(found) == 6
    assert [one.split(":")[1] for one in found] == ["1", "1", "1", "2", "3", "4"]


def test_secrets_are_not_shown():
    label = read(FULL)
    assert "tok-1234567" not in repr(label)
    assert "REPACK_HMAC_KEY" not in repr(label)
    found = "\n".join(
        problems(
            with_line("x: 1").replace(
                "https://conda.example.org/prometeia",
                "'https://u:hunter22@h/t/abc-def-gh/x?y', 'https://h/${HALKBANK_TOKEN}?q'",
            )
        )
    )
    for secret in ("hunter22", "abc-def-gh", "tok-1234567"):
        assert secret not in found


# One mistake a file: the line it adds to the minimal label, and what is said of it.
MISTAKES = [
    ("chanels: []", "5: unknown key 'chanels' (did you mean 'channels'?)"),
    ("add-pip: true", "5: unknown key 'add-pip' (did you mean 'add_pip'?)"),
    ("label: x", "5: 'label' stands here twice (first on line 1)"),
    ("<<: {a: 1}", "5: unknown key '<<' (merge keys are not read; write the keys out)"),
    (
        "description: 2.30",
        "5: 'description' must be text, not the number '2.30' (quote it: \"2.30\")",
    ),
    (
        "description: true",
        "5: 'description' must be text, not the switch 'true' (quote it: \"true\")",
    ),
    (
        "constraints: numpy",
        "5: 'constraints' must be a list, not the text 'numpy' (write a list: [numpy])",
    ),
    (
        "constraints: [3.10]",
        "5: 'constraints' must be text, not the number '3.10' (quote it: \"3.10\")",
    ),
    ("constraints: ['a >>1']", "5: 'a >>1' is no MatchSpec: strange operator"),
    ("constraints: ['']", "5: 'constraints' holds an empty text"),
    (
        "constraints: ['conda-forge::numpy']",
        "5: 'conda-forge::numpy' names a channel (write 'numpy'; the order of 'channels' decides)",
    ),
    (
        "constraints: ['numpy[channel=x]']",
        (
            "5: 'numpy[channel=x]' names a channel"
            " (leave the channel out; the order of 'channels' decides)"
        ),
    ),
    ("from: x.lock", "1: both 'packages' and 'from' are given (keep one of them)"),
    (
        "exclude_newer: tomorrow",
        (
            "5: 'exclude_newer' must be a day or a time, not 'tomorrow'"
            " (such as 2026-11-01 or 2026-11-01T12:00:00Z)"
        ),
    ),
    (
        "exclude_newer: 9999-12-31",
        (
            "5: 'exclude_newer' must be a day or a time, not '9999-12-31'"
            " (such as 2026-11-01 or 2026-11-01T12:00:00Z)"
        ),
    ),
    (
        "package_format: bz2",
        "5: 'package_format' must be one of keep, tar.bz2, not 'bz2' (did you mean 'tar.bz2'?)",
    ),
    (
        "add_pip: yes",
        "5: 'add_pip' must be true or false, not the text 'yes' (true or false, without quotes)",
    ),
    (
        "bundles: {Models: {path: x, version: '1'}}",
        "5: 'bundles.Models' must be a package name such as 'models'",
    ),
    ("bundles: {m: {path: x}}", "5: 'bundles.m.version' is missing"),
    (
        "bundles: {m: {path: x, version: 2024.10}}",
        "5: 'bundles.m.version' must be text, not the number '2024.10' (quote it: \"2024.10\")",
    ),
    (
        "bundles: {m: {path: x, version: 1-2}}",
        "5: 'bundles.m.version' must be a conda version such as '2024.10.0', not '1-2'",
    ),
    (
        "bundles: {m: {path: x, version: '1', compression_level: 99}}",
        "5: 'bundles.m.compression_level' must be between 1 and 19, not 99",
    ),
    (
        "after_install: rebot",
        (
            "5: 'after_install' must be one of none, restart, reboot, not 'rebot'"
            " (did you mean 'reboot'?)"
        ),
    ),
    (
        "after_install: {}",
        "5: 'after_install' is empty (write a word, or {packages: reboot, bundles: restart})",
    ),
    (
        "after_install: {bundle: none}",
        "5: unknown key 'bundle' in 'after_install' (did you mean 'bundles'?)",
    ),
    (
        "after_install: {bundles: reset}",
        "5: 'after_install.bundles' must be one of none, restart, reboot, not 'reset' (did you mean 'restart'?)",
    ),
    (
        "after_install: [reboot]",
        "5: 'after_install' must be text or a mapping, not a list (write a word, or {packages: reboot, bundles: restart})",
    ),
    ("health_check: {a: b}", "5: 'health_check' must be a list, not a mapping"),
    ("signing: env:X", "5: 'signing' must be a mapping, not the text 'env:X'"),
    (
        "signing: {expiry: {timestamp: 0}}",
        "5: 'signing.expiry.timestamp' must be between 1 and 36500, not 0",
    ),
    (
        "signing: {expiry: {timstamp: 9}}",
        "5: unknown key 'timstamp' in 'signing.expiry' (did you mean 'timestamp'?)",
    ),
    ("installers: [{url: https://h/x}]", "5: 'installers.sha256' is missing"),
    (f"installers: [{{url: h/x, sha256: '{'a' * 64}'}}]", "5: 'h/x' is no URL of a file"),
    (
        "installers: [{url: https://h/x, sha256: abc}]",
        "5: 'installers.sha256' must be a SHA-256 of 64 hex digits, not 'abc'",
    ),
    ("licences: {unknown: fail}", "5: 'licences.unknown' must be one of warn, deny, not 'fail'"),
    ("license: maybe", "5: 'license' must be one of none, required, not 'maybe'"),
    ("keep_releases: 0", "5: 'keep_releases' must be between 1 and 1000, not 0"),
    ("keep_releases: 0x10", "5: 'keep_releases' must be a decimal number, not '0x10'"),
    (
        "keep_releases: '3'",
        "5: 'keep_releases' must be a whole number, not the text '3' (without quotes)",
    ),
    (
        "signing: {expiry: {root: 0x10}}",
        "5: 'signing.expiry.root' must be a decimal number, not '0x10'",
    ),
    (
        "signing: {keys: '${NO}/keys'}",
        "5: variable NO is not set (export NO=…)",
    ),
    ("keep_releases: 3.0", "5: 'keep_releases' must be a whole number, not the number '3.0'"),
]


@pytest.mark.parametrize(("line", "said"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_told_with_its_line(line, said):
    assert problems(with_line(line)) == [f"halkbank.yaml:{said}"]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("label", "1: 'label' is missing"),
        ("channels", "1: 'channels' is missing"),
        ("packages", "1: 'packages' is missing (or 'from:' a lock or environment file)"),
        ("platforms", "1: 'platforms' is missing"),
    ],
)
def test_a_required_key_is_missed(key, said):
    lines = [line for line in MINIMAL.splitlines() if not line.startswith(key)]
    assert problems("\n".join(lines)) == [f"halkbank.yaml:{said}"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("label", "[a]", "1: 'label' must be text, not a list"),
        ("label", "", "1: 'label' is empty"),
        ("channels", "[]", "2: 'channels' is empty"),
        ("channels", "https://h/c", "2: 'channels' must be a list, not the text 'https://h/c' (write a list: [https://h/c])"),
        ("packages", "[]", "3: 'packages' is empty"),
        ("platforms", "{}", "4: 'platforms' is empty (write linux-64: {} or win-64: {})"),
        ("platforms", "{linux-aarch64: {}}", "4: unknown key 'linux-aarch64' in 'platforms' (repack builds for linux-64 and win-64)"),
        ("platforms", "{linux-64: yes}", "4: 'platforms.linux-64' must be a mapping, not the text 'yes'"),
        ("platforms", "[linux-64]", "4: 'platforms' must be a mapping, not a list (write linux-64: {} or win-64: {})"),
        ("platforms", "{linux-64: {__glibc: 2.30}}", "4: 'platforms.linux-64.__glibc' must be text, not the number '2.30' (quote it: \"2.30\")"),
        ("platforms", "{linux-64: {__cuda: 12}}", "4: 'platforms.linux-64.__cuda' must be text, not the number '12' (quote it: \"12\")"),
        ("platforms", "{linux-64: {__cuda: true}}", "4: 'platforms.linux-64.__cuda' needs a version (such as \"1.0\")"),
        ("platforms", "{linux-64: {__gblic: '2'}}", "4: unknown key '__gblic' in 'platforms.linux-64' (did you mean '__glibc'?)"),
        ("platforms", "{linux-64: {__glibc: new}}", "4: 'platforms.linux-64.__glibc' must be a version such as '2.17', not 'new'"),
        ("platforms", "{win-64: {__glibc: '2'}}", "4: unknown key '__glibc' in 'platforms.win-64' (known here: __win, __archspec, __cuda, conda)"),
    ],
)  # fmt: skip
def test_a_required_key_is_wrong(key, value, said):
    lines = [f"{key}: {value}" if line.startswith(key) else line for line in MINIMAL.splitlines()]
    assert problems("\n".join(lines)) == [f"halkbank.yaml:{said}"]


@pytest.mark.parametrize("name", ["a/b", "..", "con", "HALK", "x" * 65, "nul.txt", ""])
def test_a_name_that_is_no_folder_is_refused(name):
    found = problems(MINIMAL.replace("halkbank", f"'{name}'"), expect_name=name)
    assert len(found) == 1
    assert found[0].startswith(f"halkbank.yaml:1: label name {name!r}")


def test_the_name_is_the_files():
    assert problems(MINIMAL, expect_name="other") == [
        "halkbank.yaml:1: the label calls itself 'halkbank', its file 'other' (rename one of them)"
    ]


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("https://h.example/c/", "https://h.example/c"),
        ("HTTPS://h.example:8443/c", "https://h.example:8443/c"),
        ("conda-forge", "https://conda.anaconda.org/conda-forge"),
        ("conda-forge/label/dev", "https://conda.anaconda.org/conda-forge/label/dev"),
        ("/srv/my mirror", "file:///srv/my%20mirror"),
        ("./mirror", "file:///base/mirror"),
        ("C:\\mirror\\x", "file:///C:/mirror/x"),
        ("\\\\server\\share\\x", "file://server/share/x"),
        ("file:///srv/a%20b/", "file:///srv/a%20b"),
        ("file://localhost/srv/a b", "file:///srv/a%20b"),
        ("file:///C:/mirror", "file:///C:/mirror"),
        ("file://server/share/x", "file://server/share/x"),
    ],
)
def test_a_channel_becomes_a_url(entry, url):
    text = MINIMAL.replace("https://conda.example.org/prometeia", json.dumps(entry))
    assert read(text).channels == (url,)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("defaults", "has no place of its own"),
        ("nodefaults", "only the channels of the label"),
        ("local", "conda-bld"),
        ("ftp://h/c", "is not http, https or file"),
        ("s3://bucket/c", "is not http, https or file"),
        ("https://h/c?x=1", "query or fragment"),
        ("https://h/c/linux-64", "ends in a platform"),
        ("https://h/c/noarch/repodata.json", "ends in a platform"),
        ("https:///c", "has no host"),
        ("https://h:99999/c", "is no URL"),
        ("https://[::1/c", "is no URL"),
        ("https://h/a b", "white space"),
        ("~/mirror", "is no channel"),
        ("a b", "is no channel"),
        ("/srv/../x", "absolute path"),
        ("", "is no channel"),
    ],
)
def test_what_is_no_channel_is_refused(entry, said):
    text = MINIMAL.replace("https://conda.example.org/prometeia", json.dumps(entry))
    found = problems(text)
    assert len(found) == 1
    assert found[0].startswith("halkbank.yaml:2: ")
    assert said in found[0]


def test_a_channel_stands_there_once():
    text = MINIMAL.replace("prometeia]", "prometeia, https://conda.example.org/prometeia/]")
    assert problems(text) == ["halkbank.yaml:2: the channel stands here twice (first on line 2)"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "variable HALKBANK_TOKEN is not set (export HALKBANK_TOKEN=…)"),
        ({"HALKBANK_TOKEN": ""}, "variable HALKBANK_TOKEN is empty (export HALKBANK_TOKEN=…)"),
        ({"HALKBANK_TOKEN": "a\n"}, "variable HALKBANK_TOKEN holds white space or control"),
    ],
)
def test_an_unset_variable_is_told_with_its_line(variables, said):
    found = problems(FULL, environment={"REPACK_HMAC_KEY": "k" * 32, **variables})
    assert len(found) == 1
    assert found[0].startswith(f"halkbank.yaml:5: {said}")


@pytest.mark.parametrize(
    ("entry", "channel", "secrets"),
    [
        ("https://h/t/${V}/c", "https://h/t/abc%20defg/c", {"abc%20defg"}),
        ("https://${V}/c", "https://abc%20defg/c", set()),
        ("https://h/api/${env:V}/c", "https://h/api/abc%20defg/c", {"abc%20defg"}),
        ("https://h/v${SHORT}/c", "https://h/v3/c", set()),
        ("${URL}/c", "https://u:pass-word@h/c", {"pass-word"}),
        ("https://u:${RAW}@h/c", "https://u:p%40ss%2Fword@h/c", {"p@ss/word", "p%40ss%2Fword"}),
    ],
)
def test_variables_in_channels(entry, channel, secrets):
    variables = {
        "V": "abc%20defg",
        "SHORT": "3",
        "URL": "https://u:pass-word@h",
        "RAW": "p@ss/word",
    }
    text = MINIMAL.replace("https://conda.example.org/prometeia", f"'{entry}'")
    label = read(text, environment=variables)
    assert label.channels == (channel,)
    assert label.secrets >= secrets
    assert bool(label.secrets) == bool(secrets)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("https://h/${}/c", "'${}' names no variable (write ${NAME})"),
        ("https://h/${a b}/c", "'${a b}' names no variable (write ${NAME})"),
        ("https://h/${V", "'${' is not closed (write ${NAME})"),
        ("https://h/${file:/no}/c", "the file of '${file:/no}' cannot be read"),
    ],
)
def test_a_variable_that_is_none(entry, said):
    text = MINIMAL.replace("https://conda.example.org/prometeia", f"'{entry}'")
    found = problems(text)
    assert len(found) == 1
    assert found[0].startswith(f"halkbank.yaml:2: {said}")


def test_a_key_in_the_label_itself_is_a_secret():
    label = read(with_line("signing: {hmac: 'oem=hex:00112233445566778899'}"))
    assert "00112233445566778899" in label.secrets
    assert label.notes == ("signing.hmac holds the key itself; name env:… or file:… instead",)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-11-01", dt.datetime(2026, 11, 2, tzinfo=dt.UTC)),
        ("'2026-11-01'", dt.datetime(2026, 11, 2, tzinfo=dt.UTC)),
        ("2026-11-01T12:00:00Z", dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)),
        ("2026-11-01 12:00:00", dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)),
        ("2026-11-01T12:00:00+03:00", dt.datetime(2026, 11, 1, 9, tzinfo=dt.UTC)),
    ],
)
def test_exclude_newer_is_a_moment_in_utc(value, moment):
    assert read(with_line(f"exclude_newer: {value}")).exclude_newer == moment


def test_conda_s_triple_is_spaced():
    text = MINIMAL.replace("[ratingpro]", "[numpy=1.26=py_0, 'blas=*=openblas', python=3.12]")
    assert read(text).packages == ("numpy ==1.26 py_0", "blas * openblas", "python=3.12")


@pytest.mark.parametrize(
    ("value", "paths", "environment"),
    [
        ("pixi.lock", ("/base/pixi.lock",), "default"),
        ("[a.txt, b.txt]", ("/base/a.txt", "/base/b.txt"), "default"),
        ("{file: pixi.lock, environment: prod}", ("/base/pixi.lock",), "prod"),
    ],
)
def test_packages_may_come_from_a_file(value, paths, environment):
    label = read(MINIMAL.replace("packages: [ratingpro]", f"from: {value}"))
    assert label.source is not None
    assert (label.source.paths, label.source.environment) == (paths, environment)
    assert label.packages == ()


def test_an_environment_brings_the_packages():
    text = MINIMAL.replace("packages: [ratingpro]\n", "")
    assert read(text, packages_from="env").packages == ()


def test_an_old_conda_gets_a_note():
    label = read(MINIMAL.replace("{linux-64: {}}", "{linux-64: {conda: '4.3'}}"))
    assert label.notes == (
        "linux-64: conda 4.3 cannot read .conda packages; say package_format: tar.bz2",
    )


def test_a_byte_order_mark_and_dos_lines_are_fine():
    assert read(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode()) == read(MINIMAL)


def test_aliases_never_unfold():
    lines = ["x0: &x0 [lol]"] + [
        f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 40)
    ]
    found = problems("\n".join(lines))
    assert len(found) == 40 + 4

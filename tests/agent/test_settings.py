"""A target's settings: merged in order, mistakes listed with file and line."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.agent.settings import Health, PathIn, Services, Snippet, TargetSettings, merge
from repack.errors import SettingsError

FULL = b"""\
[provision]
label = "bank"
platform = "win-64"
tag = "north"
type = "ci"

[storage]
root = "opt"
keep = 4

[install]
engine = "conda"

[trust]
root = "/etc/repack/root.json"

[services]
restart = ["systemctl", "restart", "a"]
stop = [["stop", "a"], ["stop", "b"]]
start = [["start"]]

[health]
command = ["check"]
timeout = 5
"""


def snippet(data, name="10.toml"):
    return Snippet(name, "/etc/repack", data)


def problems(*data):
    with pytest.raises(SettingsError) as caught:
        merge(snippet(one, f"{n}.toml") for n, one in enumerate(data, 1))
    return [f"{p.where}: {p.what}" for p in caught.value.problems]


def test_all_keys():
    assert merge([snippet(FULL)]) == TargetSettings(
        label="bank",
        platform="win-64",
        tag="north",
        type="ci",
        root=PathIn("/etc/repack", "opt"),
        keep=4,
        engine="conda",
        trust_root=PathIn("/etc/repack", "/etc/repack/root.json"),
        services=Services(
            (("systemctl", "restart", "a"),), (("stop", "a"), ("stop", "b")), (("start",),)
        ),
        health=Health((("check",),), 5),
    )


def test_a_label_is_enough():
    assert merge([snippet(b'provision.label = "bank"')]) == TargetSettings("bank")
    assert merge([snippet(b'provision = {label = "bank"}')]).type == "production"
    assert merge([snippet(b'provision = {label = "bank"}')]).engine == "auto"


def test_later_keys_replace_earlier_ones():
    found = merge([snippet(FULL), snippet(b"[storage]\nkeep = 9\n", "20.toml")])
    assert (found.keep, found.root) == (9, PathIn("/etc/repack", "opt"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1.toml: 'provision.label' is missing"),
        ("[provision]\n", "1.toml: 'provision.label' is missing"),
        ("provision = 1", "1.toml:1: 'provision' must be a mapping, not the number '1'"),
        ("[provision]\nlabel = 1", "1.toml:2: 'provision.label' must be text, not the number '1'"),
        ("[provision]\nlabel = ''", "1.toml:2: 'provision.label' must be a text, not ''"),
        ("[provision]\nlabel = 'A'", "1.toml:2: 'provision.label': label name 'A' is not made of"),
        ("[provision]\ntype = 'prod'", "1.toml:2: 'provision.type' must be one of ci, production"),
        ("[provision]\nplatform = 'osx-64'", "1.toml:2: 'provision.platform' must be one of"),
        ("\n[Provision]\n", "1.toml:2: unknown key 'Provision'"),
        ("[storage]\nkeep = 0", "1.toml:2: 'storage.keep' must be between 1 and 1000, not 0"),
        ("[storage]\nkeep = 1.5", "1.toml:2: 'storage.keep' must be a whole number"),
        ("[storage]\nkeep = true", "1.toml:2: 'storage.keep' must be a whole number"),
        ("[storage]\nroot = 2020-01-01", "1.toml:2: 'storage.root' must be text"),
        ("[services]\nstop = 'x'", "1.toml:2: 'services.stop' must be a list"),
        ("[services]\nstop = []", "1.toml:2: 'services.stop' is empty"),
        ("[services]\nstop = [1]", "1.toml:2: 'services.stop' must be"),
        ("[services]\nstop = ['a', ['b']]", "1.toml:2: 'services.stop' mixes words and commands"),
        ("[services]\nstop = [[]]", "1.toml:2: 'services.stop' is empty"),
        ("[health]\ncommand = {a = 1}", "1.toml:2: 'health.command' must be a list"),
        ("a = \n", "1.toml:1: not TOML: Invalid value"),
        ("a = 1\na = 2", "1.toml:2: not TOML: Cannot overwrite a value"),
        ("[provision", "1.toml:1: not TOML"),
        ("\x00", "1.toml:1: control character"),
    ],
)
def test_mistakes(text, said):
    found = problems(text.encode())
    assert found[0].startswith(said), found


def test_all_mistakes_of_all_files():
    found = problems(b"[provision]\nlabel = 1\nx = 1\n", b"[storage]\nkeep = 0\n", b"\xff")
    assert [text.split(": ")[0] for text in found] == [
        "1.toml:2",
        "1.toml:3",
        "2.toml:2",
        "3.toml:1",
    ]


@given(st.binary(max_size=200) | st.text(alphabet="[]{}=\"'\n.,a1 #", max_size=60).map(str.encode))
def test_any_bytes_are_settings_or_a_list_of_mistakes(data):
    found = None
    with contextlib.suppress(SettingsError):
        found = merge([snippet(FULL), snippet(data)])
    assert found is None or found.label


SHARED = b"""\
[provision]
primary_ecu_hardware_id = "bank"

[pacman]
type = "ostree+compose_apps"
ostree_server = "https://example.org"

[[uptane.key]]
source = "file"

[storge]
keep = 1
"""


def test_settings_may_be_shared_with_another_updater():
    settings = merge([snippet(SHARED)])
    assert settings.label == "bank"
    assert settings.keep == TargetSettings(label="bank").keep
    assert settings.notes == (
        "10.toml:4: section [pacman] is not repack's: ignored",
        "10.toml:8: section [uptane] is not repack's: ignored",
        "10.toml:11: section [storge] is not repack's: ignored (did you mean 'storage'?)",
    )


def test_the_minimum_of_the_other_updater_works():
    assert merge([snippet(b'[provision]\nprimary_ecu_hardware_id = "bank"\n')]).label == "bank"


def test_a_label_goes_before_a_hardware_id_wherever_it_stands():
    hardware = b'[provision]\nprimary_ecu_hardware_id = "Intel X!"\n'
    label = b'[provision]\nlabel = "bank"\n'
    for order in ([hardware, label], [label, hardware]):
        assert merge(snippet(data) for data in order).label == "bank"
    (problem,) = problems(hardware)
    assert problem.startswith("1.toml:2: 'provision.primary_ecu_hardware_id' is no label's name")


def test_keys_of_our_sections_stay_strict():
    found = problems(b'[provision]\nlabel = "bank"\nserver = "x"\n', b"[tls]\nserver = 1\n")
    assert found == ["1.toml:3: unknown key 'server' in 'provision'"]
    assert problems(b'server = 1\n[provision]\nlabel = "bank"\n') == [
        "1.toml:1: unknown key 'server'"
    ]

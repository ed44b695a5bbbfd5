"""The first label without a file: channels, platforms and packages on the command line."""

from __future__ import annotations

import json

import pytest

import repack
from repack.cli.main import run
from tests.world import World, check


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = World(tmp_path / "wörk dir")
    monkeypatch.chdir(world.root)
    for name in ("LABELS_DIR", "CHANNELS_DIR", "STORE"):
        monkeypatch.delenv(f"REPACK_{name}", raising=False)
    return world


def answer(capsys, code, *words):
    got = run([*words, "--json"])
    said = capsys.readouterr()
    assert got == code, said.err
    assert "Traceback" not in said.err
    return json.loads(said.out)


def folders(world):
    return "--channels-dir", str(world.channels), "--store", str(world.store)


def test_a_label_without_a_file_is_built_at_once(world, capsys):
    words = ["label", "first", "-c", world.upstream.as_uri(), "tiny-app", "pip >=20",
             "--platform", "win-64", "-p", "linux-64=__glibc=2.28", *folders(world)]  # fmt: skip
    outcome = answer(capsys, 0, *words)
    assert outcome["release"] == 1
    assert set(outcome["platforms"]) == {"linux-64", "win-64"}
    profile = json.loads((world.channels / "first/repack/profile.json").read_text())
    assert "__glibc=2.28=0" in profile["linux-64"]["virtual_packages"]
    assert profile["win-64"]["specs"] == ["tiny-app", "pip >=20"]
    check(world.channels / "first")
    assert answer(capsys, 0, *words)["changed"] is False


def test_without_a_platform_it_is_this_machines(world, capsys):
    outcome = answer(capsys, 0, "label", "first", "-c", str(world.upstream), "tiny-lib",
                     *folders(world))  # fmt: skip
    assert list(outcome["platforms"]) == ["linux-64"]
    assert outcome["platforms"]["linux-64"]["proof"] == "linked"


def test_python_builds_it_as_well(world):
    outcome = repack.build(
        "first", channels=[world.upstream.as_uri()], packages=["tiny-lib"],
        platforms={"linux-64": {"__glibc": "2.28"}}, prove="solved",
        channels_dir=world.channels, store=world.store,
    )  # fmt: skip
    assert outcome.release == 1


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (["label", "x", "-c", "URL"], "no package", "repack label x -c CHANNEL PACKAGE…"),
        (["label", "x", "pip >=2"], "'pip >=2' is no name", "repack label x -c URL 'pip >=2'"),
        (["label", "x", "-p", "linux-64"], "labels without a file", "with -c"),
        (["label", "x", "-c", "URL", "pip", "-p", "linux64"], "unknown platform", "'linux-64'"),
        (["label", "x", "-c", "URL", "pip", "-p", "linux-64=__glib=2"], "'__glib'", "'__glibc'"),
        (["label", "x", "-c", "URL", "pip", "-p", "linux-64=__glibc"], "no value", "=2.28"),
        (["lable", "x"], "no command 'lable'", "did you mean 'label'?"),
        (["key", "shwo"], "no command 'shwo' in `repack key`", "did you mean 'show'?"),
        (["label", "x", "--updat"], "--updat", "--update"),
        (["verify"], "Missing argument", "repack verify --help"),
    ],
)  # fmt: skip
def test_mistakes_are_json_as_well(world, capsys, words, what, hint):
    words = [world.upstream.as_uri() if word == "URL" else word for word in words]
    told = answer(capsys, 2, *words)
    assert told["error"] == "usage"
    assert told["exit_code"] == 2
    assert what in told["what"]
    assert hint in json.dumps(told, ensure_ascii=False)


def test_a_label_with_a_file_is_not_described_twice(world, capsys):
    world.write()
    told = answer(capsys, 2, "label", "bank", "-c", str(world.upstream), "pip",
                  "--labels-dir", str(world.labels), *folders(world))  # fmt: skip
    assert "has a file" in told["what"]
    assert "repack label bank builds" in told["hint"]


def test_a_secret_on_the_command_line_is_hidden(world, capsys):
    code = run(["label", "x", "-c", "http://me:s3cret-word@127.0.0.1:9/ch", "pip", *folders(world)])
    said = capsys.readouterr()
    assert code == 5
    assert "s3cret-word" not in said.out + said.err


def test_folders_come_from_the_environment_and_from_repack_toml(world, capsys, monkeypatch):
    world.write()
    below = world.root / "deep" / "down"
    below.mkdir(parents=True)
    (world.root / "repack.toml").write_text(
        f'labels_dir = "labels"\nchannels_dir = "fröm toml"\nstore = "{world.store}"\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(below)
    assert answer(capsys, 0, "label", "bank")["channel"] == str(world.root / "fröm toml" / "bank")
    monkeypatch.setenv("REPACK_CHANNELS_DIR", str(world.root / "from env"))
    assert answer(capsys, 0, "label", "bank")["channel"] == str(world.root / "from env" / "bank")
    there = world.root / "said"
    done = answer(capsys, 0, "label", "bank", "--channels-dir", str(there))
    assert done["channel"] == str(there / "bank")
    rows = {row["what"]: row["text"] for row in answer(capsys, 0, "doctor")}
    assert str(world.root / "repack.toml") in rows["defaults"]
    assert rows["defaults: channels_dir"].startswith("REPACK_CHANNELS_DIR: ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('x = 1\nchanels_dir = "x"\n', ["repack.toml:2", "did you mean 'channels_dir'?"]),
        ("labels_dir = 3\n", ["repack.toml:1", "'labels_dir' must be a text"]),
        ('store = "C:\\Users"\n', ["is no TOML", "single quotes"]),
        ('prove = "link"\n', ["must be one of linked, solved", 'write prove = "linked"']),
        ("[[[", ["is no TOML"]),
    ],
)
def test_mistakes_in_repack_toml(world, capsys, text, told):
    (world.root / "repack.toml").write_text(text)
    assert run(["labels"]) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in told), error


def test_quiet_and_verbose(world, capsys):
    words = ["label", "x", "-c", str(world.upstream), "tiny-lib", *folders(world)]
    assert run([*words, "-v"]) == 0
    assert "solve" in capsys.readouterr().err
    assert run([*words, "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_version_is_short_as_well(capsys):
    assert run(["-V"]) == 0
    assert repack.__version__ in capsys.readouterr().out


def test_no_help_text_is_cut(capsys):
    for words in ([], ["target"], ["key"], ["license"], ["store"], ["delta"], ["bundle"]):
        assert run([*words, "--help"]) == 0
        assert "..." not in capsys.readouterr().out.replace("[ARGS]...", "")


def test_commands_stand_in_groups(capsys):
    run(["--help"])
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert heads == ["Options:", "Build:", "Trust:", "Deliver:", "Target:", "Care:"]


def test_shells_complete_labels_releases_and_tags(world, monkeypatch, capsys):
    world.write()
    assert run(["label", "bank", "--labels-dir", str(world.labels), *folders(world)]) == 0
    (world.labels / "other.yaml").write_text("")
    capsys.readouterr()
    monkeypatch.setenv("REPACK_CHANNELS_DIR", str(world.channels))
    assert complete("repack label ") == ["bank", "other"]
    assert complete("repack label ba") == ["bank"]
    assert complete("repack restore bank ") == ["1"]
    assert complete("repack report bank --release ") == ["1"]
    assert complete("repack medium nothing --release ") == [""]  # click's word for "none"
    assert complete("repack medium bank --tag ") == [""]
    (world.root / "repack.toml").write_text("[[[")
    assert complete("repack label ba") in ([], ["bank"])


def complete(line):
    from click.testing import CliRunner

    from repack.cli.main import repack as program

    words = line.split(" ")
    environment = {"_REPACK_COMPLETE": "bash_complete", "COMP_WORDS": line,
                   "COMP_CWORD": str(len(words) - 1)}  # fmt: skip
    done = CliRunner(env=environment).invoke(program, [], prog_name="repack")
    return [row.partition(",")[2] for row in done.output.splitlines()]

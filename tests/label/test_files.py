from __future__ import annotations

import os

import pytest

from repack.errors import LabelError, PlaceError, UsageError
from repack.inputs.source import Source
from repack.label import files
from tests.inputs.test_source import ENVIRONMENT, EXPLICIT, PIXI_7
from tests.label.test_reader import FULL, MINIMAL


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels").mkdir()
    return tmp_path / "labels"


def load(path, variables=None, packages_from="label"):
    return files.load(path, variables or {}, lambda _text: None, packages_from)


def test_labels_are_listed_without_litter(folder):
    for name in ("b.yaml", "a.json", "c.yml", "a.lock", "._b.yaml", "Thumbs.db", "UPPER.yaml"):
        (folder / name).touch()
    assert files.names(folder) == ("a", "b", "c")


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_a_label_is_found(folder, suffix):
    path = folder / f"halkbank{suffix}"
    path.touch()
    assert files.find(folder, "halkbank") == path


@pytest.mark.parametrize(
    ("name", "what", "hint"),
    [
        ("halkbnk", "unknown label 'halkbnk'", "did you mean 'halkbank'?"),
        ("zzz", "unknown label 'zzz'", "labels here: halkbank"),
        ("../halkbank", "label name '../halkbank' is not made of", "short lower-case word"),
        ("con", "label name 'con' is a reserved name on Windows", "short lower-case word"),
    ],
)
def test_an_unknown_label_is_told_with_near_names(folder, name, what, hint):
    (folder / "halkbank.yaml").touch()
    with pytest.raises(UsageError, match=what) as caught:
        files.find(folder, name)
    assert hint in (caught.value.hint or "")


def test_a_label_defined_twice(folder):
    (folder / "x.yaml").touch()
    (folder / "x.json").touch()
    with pytest.raises(UsageError, match=r"defined twice: x\.yaml, x\.json"):
        files.find(folder, "x")


def test_no_folder_of_labels(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        files.find(tmp_path / "none", "x")
    with pytest.raises(PlaceError):
        files.names(tmp_path / "none")


def test_an_empty_folder_of_labels(folder):
    with pytest.raises(UsageError) as caught:
        files.find(folder, "x")
    assert caught.value.hint == "the folder has no labels; begin: repack init x -c CHANNEL PACKAGE…"


def test_paths_are_those_beside_the_label_or_in_the_working_folder(folder, tmp_path):
    (folder / "data" / "models").mkdir(parents=True)
    path = folder / "halkbank.yaml"
    path.write_text(FULL, encoding="utf-8")
    label = load(path, {"HALKBANK_TOKEN": "tok-1234567", "REPACK_HMAC_KEY": "k" * 32})
    assert label.bundles["models"].path == str(folder / "data" / "models")
    assert label.bundles["strategies"].path == str(tmp_path / "data" / "strategies")
    assert label.signing.keys == str(tmp_path / "keys" / "halkbank")


def test_a_secret_may_come_from_a_file(folder):
    (folder / "token").write_text("tok-1234567\r\n")
    path = folder / "halkbank.yaml"
    path.write_text(FULL.replace("${HALKBANK_TOKEN}", "${file:token}"), encoding="utf-8")
    label = load(path, {"REPACK_HMAC_KEY": "k" * 32})
    assert label.channels[1] == "https://conda.example.org/t/tok-1234567/prometeia/label/halkbank"
    assert label.secrets == {"tok-1234567"}


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * (65 << 10)])
def test_a_secret_file_that_is_none(folder, content):
    if content is not None:
        (folder / "token").write_bytes(content)
    path = folder / "halkbank.yaml"
    path.write_text(FULL.replace("${HALKBANK_TOKEN}", "${file:token}"), encoding="utf-8")
    with pytest.raises(LabelError, match=r"the file of '\$\{file:token\}' cannot be read"):
        load(path)


def test_the_variables_are_the_given_ones(folder, monkeypatch):
    monkeypatch.setenv("HALKBANK_TOKEN", "from-the-process")
    path = folder / "halkbank.yaml"
    path.write_text(FULL, encoding="utf-8")
    with pytest.raises(LabelError, match="HALKBANK_TOKEN is not set"):
        load(path)
    variables = files.Variables({"A": "b"}, folder)
    assert dict(variables) == {"A": "b"}
    assert len(variables) == 1


def test_a_label_too_large_or_unreadable(folder):
    path = folder / "x.yaml"
    path.write_bytes(b"#" * (10 << 20))
    with pytest.raises(LabelError, match="the file is too large; at most 1 MiB"):
        load(path)
    with pytest.raises(PlaceError):
        load(folder / "none.yaml")


@pytest.mark.skipif(os.name == "nt", reason="no such pipe there")
def test_a_folder_in_a_label_s_place_is_not_read(folder):
    (folder / "x.yaml").mkdir()
    with pytest.raises(UsageError, match="unknown label 'x'"):
        files.find(folder, "x")


def test_a_source_is_read_and_joined(folder):
    for name, text in (("a.txt", EXPLICIT), ("b.txt", EXPLICIT.replace("linux-64", "win-64"))):
        (folder / name).write_text(text, encoding="utf-8")
    path = folder / "halkbank.yaml"
    path.write_text(MINIMAL.replace("packages: [ratingpro]", "from: [a.txt, b.txt]"))
    source = load(path).source
    assert source is not None
    assert set(files.read_source(source, ("linux-64", "win-64")).pins) == {"linux-64", "win-64"}


def test_specs_of_an_environment_file_are_checked(folder):
    path = folder / "environment.yml"
    path.write_text(ENVIRONMENT.replace("pandas >=2", "pandas >>2"), encoding="utf-8")
    with pytest.raises(LabelError, match=r"environment\.yml:7: 'pandas >>2' is no MatchSpec"):
        files.read_source(Source((str(path),)), ("linux-64",))


def test_all_mistakes_of_all_sources_come_at_once(folder):
    good = folder / "pixi.lock"
    good.write_text(PIXI_7, encoding="utf-8")
    bad = folder / "bad.lock"
    bad.write_text("a: b: c", encoding="utf-8")
    source = Source((str(good), str(bad), str(folder / "none")))
    with pytest.raises(LabelError) as caught:
        files.read_source(source, ("linux-64",))
    assert len(caught.value.problems) == 2
    huge = folder / "huge.lock"
    with huge.open("wb") as stream:
        stream.truncate(33 << 20)
    with pytest.raises(LabelError, match="too large; at most 32 MiB"):
        files.read_source(Source((str(huge),)), ("linux-64",))

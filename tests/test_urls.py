from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.errors import UsageError
from repack.names import LabelName
from repack.urls import (
    channel_url,
    folder_fault,
    package_url,
    redact_text,
    redact_url,
    secrets_in_url,
)

SEGMENT = st.text(
    st.characters(exclude_characters="/\x00", exclude_categories=("Cs",)), min_size=1
).filter(lambda s: s not in {".", ".."})
WINDOWS_SEGMENT = SEGMENT.filter(lambda s: not set(s) & set('\\:*?"<>|'))
WORD = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_", min_size=3, max_size=24)
# What conda does to a URL before it decodes anything (conda.common.url, 4.3 to 26.7).
CONDA_CUTS = r"/t/[a-zA-Z0-9-]*|/(noarch|linux-\w+|win-\w+|osx-\w+|zos-z)(/|$)|\.(conda|tar\.bz2)$"


@pytest.mark.parametrize(
    ("path", "windows", "url"),
    [
        ("/mnt/usb/halkbank", False, "file:///mnt/usb/halkbank"),
        ("/mnt/my stick/ä#%+!/x", False, "file:///mnt/my%20stick/%C3%A4%23%25%2B%21/x"),
        ("/", False, "file:///"),
        ("/a//b/", False, "file:///a/b"),
        ("C:\\Users\\M üller\\ch", True, "file:///C:/Users/M%20%C3%BCller/ch"),
        ("d:/ch", True, "file:///D:/ch"),
        ("\\\\srv\\share\\ch", True, "file://srv/share/ch"),
        ("//srv/share/ch", True, "file://srv/share/ch"),
        ("\\\\?\\C:\\ch", True, "file:///C:/ch"),
        ("\\\\?\\UNC\\srv\\share\\ch", True, "file://srv/share/ch"),
        ("/home/t/abc", False, "file:///home/%74/abc"),
        ("/a/Linux-64/b", False, "file:///a/%4Cinux-64/b"),
        ("/a/b.conda", False, "file:///a/b%2Econda"),
    ],
)
def test_a_folder_has_one_url(path, windows, url):
    assert channel_url(path, windows=windows) == url


@pytest.mark.parametrize(
    ("path", "windows"),
    [
        ("", False),
        ("ch", False),
        ("/a/../b", False),
        ("/a/./b", False),
        ("/a\x00b", False),
        ("/\ud800", False),
        ("C:ch", True),
        ("\\ch", True),
        ("/ch", True),
        ("\\\\srv", True),
        ("\\\\.\\pipe\\x", True),
        ("C:\\a\\..\\b", True),
        ("\\\\s v\\share", True),
    ],
)
def test_no_url_without_an_absolute_path(path, windows):
    with pytest.raises(UsageError):
        channel_url(path, windows=windows)


@given(st.lists(SEGMENT, min_size=1))
def test_posix_paths_come_back(parts):
    path = "/" + "/".join(parts)
    url = channel_url(path, windows=False)
    assert url.isascii()
    assert unquote(urlsplit(url).path) == path
    assert not urlsplit(url).netloc


@given(st.lists(WINDOWS_SEGMENT, min_size=1))
def test_windows_paths_come_back(parts):
    url = channel_url("C:\\" + "\\".join(parts), windows=True)
    assert unquote(urlsplit(url).path) == "/C:/" + "/".join(parts)


@given(WORD, st.lists(WINDOWS_SEGMENT, min_size=1))
def test_unc_paths_come_back(server, parts):
    url = channel_url(f"\\\\{server}\\" + "\\".join(parts), windows=True)
    assert urlsplit(url).netloc == server
    assert unquote(urlsplit(url).path) == "/" + "/".join(parts)


@given(
    st.lists(st.sampled_from(["t", "noarch", "linux-64", "WIN-64", "a.conda", "b", "c.tar.bz2"]))
)
def test_conda_finds_nothing_to_cut_out(parts):
    url = channel_url("/" + "/".join(parts), windows=False)
    assert not re.search(CONDA_CUTS, url.removeprefix("file://"), re.IGNORECASE)


def test_bytes_of_a_name_that_is_no_utf8_are_kept():
    assert channel_url("/a\udcff", windows=False) == "file:///a%FF"


def test_package_urls_encode_the_epoch():
    assert package_url("https://h/c/", "noarch", "a-1!2.0+x-0.conda") == (
        "https://h/c/noarch/a-1%212.0%2Bx-0.conda"
    )


@pytest.mark.parametrize(
    ("url", "clean", "secrets"),
    [
        ("https://h/c", "https://h/c", ()),
        ("https://h:8080/c?x=1#y", "https://h:8080/c?x=1#y", ()),
        ("https://u:p%40ss@h/c", "https://h/c", ("p%40ss", "p@ss")),
        ("https://tok@h/c", "https://h/c", ("tok",)),
        ("https://u:a/b@h/c", "https://h/c", ("a/b",)),
        ("https://u:a#b@h/c", "https://h/c", ("a#b",)),
        ("https://u:a@b@h/c", "https://h/c", ("a@b",)),
        ("//u:pw@h/c", "//h/c", ("pw",)),
        ("https://[::1]:80/c", "https://[::1]:80/c", ()),
        ("https://h/t/tk-1/c", "https://h/c", ("tk-1",)),
        ("https://h/conda/t/a.b_c/c/label/x", "https://h/conda/c/label/x", ("a.b_c",)),
        ("https://h/t/tk-1", "https://h", ("tk-1",)),
        ("/t/tk-1/c", "/c", ("tk-1",)),
        ("file:///home/t/c", "file:///home/t/c", ()),
        ("https://h/c?sig=a%3D&v=1", "https://h/c?v=1", ("a%3D", "a=")),
        ("https://h/c?access_token=abc#token=def", "https://h/c", ("abc", "def")),
        ("https://h/c?X-Amz-Signature=s&X-Amz-Date=d", "https://h/c", ("d", "s")),
        ("https://h/c#0123456789abcdef", "https://h/c#0123456789abcdef", ()),
        ("", "", ()),
    ],
)
def test_scrub(url, clean, secrets):
    assert redact_url(url) == clean
    assert secrets_in_url(url) == secrets


@given(WORD, WORD, WORD, WORD, st.booleans())
def test_no_secret_survives(user, password, token, value, label):
    password, token, value = f"P{password}", f"T{token}", f"V{value}"
    url = (
        f"https://{user}:{quote(password)}@example.org/t/{token}/chan"
        f"{'/label/x' if label else ''}?api_key={value}&page=2"
    )
    clean = redact_url(url)
    assert {password, token, value} <= set(secrets_in_url(url))
    assert clean == f"https://example.org/chan{'/label/x' if label else ''}?page=2"


@given(st.text())
def test_scrub_takes_anything_and_is_done_after_once(text):
    assert redact_url(redact_url(text)) == redact_url(text)
    assert not secrets_in_url(redact_url(text))


@given(st.text("abt:/@?#&=token.", max_size=40))
def test_scrub_is_done_after_once_on_what_looks_like_urls(text):
    url = "https://" + text
    assert redact_url(redact_url(url)) == redact_url(url)
    assert not secrets_in_url(redact_url(url))


def test_scrub_text_finds_urls_and_named_secrets():
    text = 'got 401 from "https://u:pw@h/t/abc/c?token=x", header Bearer s3cret'
    assert redact_text(text, ["s3cret", ""]) == 'got 401 from "https://h/c", header Bearer ***'


@pytest.mark.parametrize("name", ["t", "noarch", "win-64", "osx-arm64", "a.conda", "a.tar.bz2"])
def test_a_label_is_not_called_what_conda_cuts_out_of_urls(name):
    assert folder_fault(name)
    with pytest.raises(UsageError, match=r"conda|token"):
        LabelName(name)


@pytest.mark.parametrize("name", ["halkbank", "tt", "win", "linux", "a.b-c_1"])
def test_other_names_are_fine(name):
    assert folder_fault(name) is None
    assert LabelName(name) == name

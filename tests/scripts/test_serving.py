import urllib.error
import urllib.request

import pytest

from scripts.serving import serving


@pytest.fixture
def address(tmp_path):
    for channel in ("open", "secret"):
        (tmp_path / channel).mkdir()
        (tmp_path / channel / "file").write_text(channel)
    with serving(tmp_path, "secret", "t0ken") as found:
        yield found


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def test_open_and_private_channels(address):
    assert get(f"{address}/open/file") == "open"
    assert get(f"{address}/t/t0ken/secret/file") == "secret"


@pytest.mark.parametrize("path", ["secret/file", "t/wrong/secret/file"])
def test_without_the_token_nothing_is_given(address, path):
    with pytest.raises(urllib.error.HTTPError):
        get(f"{address}/{path}")

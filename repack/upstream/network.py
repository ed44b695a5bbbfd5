"""How this machine reaches others: proxies, certificates, mirrors.

Read from the environment first, as requests and curl do, then from conda's configuration, so that
what works for conda on a machine works for repack. Mirrors come from the configuration that
rattler's tools share.

Certificates are always verified. ``ssl_verify: false`` is not followed; the error that comes of it
says so.
"""

from __future__ import annotations

import ipaddress
import re
import string
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from msgspec import field
from msgspec.structs import replace

from repack.errors import UsageError
from repack.fs import atomic
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LIMIT: Final = 4 << 20
_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_OFF: Final = {"false", "no", "off", "0"}
_ON: Final = {"true", "yes", "on", "1", "truststore", ""}
# ruamel.yaml costs a tenth of a second; most configurations say nothing of the network.
_OF_INTEREST: Final = re.compile(rb"^\s*(proxy_servers|ssl_verify|client_ssl_cert)", re.MULTILINE)


class Network(Value, frozen=True):
    """The settings that decide how a URL is reached.

    Attributes:
        proxies: by scheme (``https``, ``all``) or origin (``https://host``).
        no_proxy: hosts, domains, address ranges that are reached directly; ``*`` for all.
        ca: a file or folder of certificates to trust; None for the system's.
        ca_source: where ``ca`` was set, for messages.
        client: certificate and, when it is a file of its own, key to show to servers.
        mirrors: URL prefix to the prefixes that are asked instead of it, in order.
    """

    hidden_fields: ClassVar = (
        "proxies",
        "mirrors",
    )

    proxies: Mapping[str, str] = field(default_factory=dict)
    no_proxy: tuple[str, ...] = ()
    ca: Path | None = None
    ca_source: str = "the system"
    client: tuple[Path, Path | None] | None = None
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], home: Path) -> Network:
        """Read the environment, conda's configuration and rattler's mirrors.

        Raises:
            UsageError: a configuration file cannot be understood, or the CA file is not there.
        """
        conda = _conda(environ, home)
        ca, source = _ca(environ, conda)
        certificate, key = (_path(conda.get(f"client_ssl_cert{end}")) for end in ("", "_key"))
        return cls(
            proxies={**_conda_proxies(conda), **_proxies(environ)},
            no_proxy=_no_proxy(environ),
            ca=ca,
            ca_source=source,
            client=(certificate, key) if certificate else None,
            mirrors=_mirrors(environ, home),
        )

    @property
    def trusted(self) -> str:
        """Which certificates are trusted, in words."""
        return f"{self.ca} (set by {self.ca_source})" if self.ca else f"those of {self.ca_source}"

    def with_mirrors(self, mirrors: Mapping[str, tuple[str, ...]]) -> Network:
        """The same with more mirrors, which win."""
        return replace(self, mirrors={**self.mirrors, **mirrors})

    def proxy(self, scheme: str, host: str, port: int) -> str | None:
        """The proxy to reach a host by, or None to reach it directly."""
        for key in (f"{scheme}://{host}", scheme, f"all://{host}", "all"):
            if found := self.proxies.get(key):
                return None if self._direct(host.lower(), port) else found
        return None

    def _direct(self, host: str, port: int) -> bool:
        return any(_covers(rule, host, port) for rule in self.no_proxy)

    def places(self, url: str) -> tuple[str, ...]:
        """Where ``url`` is to be asked for: itself, or its mirrors.

        As with pixi, a mirrored prefix is itself asked only when its own list names it.
        """
        for prefix in sorted(self.mirrors, key=len, reverse=True):
            stem = prefix.rstrip("/")
            if url == stem or url.startswith(stem + "/"):
                rest = url[len(stem) :]
                return tuple(mirror.rstrip("/") + rest for mirror in self.mirrors[prefix])
        return (url,)


def _covers(rule: str, host: str, port: int) -> bool:
    """Whether one entry of NO_PROXY is about ``host``, by curl's and requests' rules."""
    if rule == "*":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name, _, wanted = rule.partition(":")
        name = name.removeprefix("*").lstrip(".")
        return (not wanted or wanted == str(port)) and (host == name or host.endswith("." + name))
    try:
        return address in ipaddress.ip_network(rule.strip("[]"), strict=False)
    except ValueError:
        return rule == f"{host}:{port}"


def _path(value: object) -> Path | None:
    return Path(value).expanduser() if isinstance(value, str) and value else None


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name.lower()) or environ.get(name) or ""


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    found = {
        scheme: value
        for scheme in ("http", "https", "all")
        # A CGI program must not take a header `Proxy:` for a proxy (CVE-2016-1000110).
        if not (scheme == "http" and "REQUEST_METHOD" in environ)
        and (value := _variable(environ, f"{scheme.upper()}_PROXY"))
    }
    if not found and sys.platform == "win32":
        from urllib.request import getproxies_registry

        found = {k: v for k, v in getproxies_registry().items() if k in {"http", "https"}}
    return found


def _no_proxy(environ: Mapping[str, str]) -> tuple[str, ...]:
    entries = re.split(r"[,\s]+", _variable(environ, "NO_PROXY").lower())
    return tuple(entry for entry in entries if entry)


def _conda_proxies(conda: Mapping[str, Any]) -> dict[str, str]:
    servers = conda.get("proxy_servers")
    servers = servers if isinstance(servers, dict) else {}
    return {str(key).lower(): str(value) for key, value in servers.items() if value}


def _ca(environ: Mapping[str, str], conda: Mapping[str, Any]) -> tuple[Path | None, str]:
    for name in _CA_VARIABLES:
        if value := environ.get(name):
            if name == "SSL_CERT_DIR" and not Path(value).is_dir():
                continue  # a list of folders: OpenSSL reads it by itself
            return _there(Path(value), name), name
    setting = environ.get("CONDA_SSL_VERIFY")
    source = "CONDA_SSL_VERIFY" if setting else f"ssl_verify in {conda.get('')}"
    value = str(setting or conda.get("ssl_verify", ""))
    if value.lower() in _OFF:
        return None, f"the system ({source} is {value}, which repack does not follow)"
    if value.lower() in _ON:
        return None, "the system"
    return _there(Path(value).expanduser(), source), source


def _there(path: Path, source: str) -> Path:
    if not path.exists():
        raise UsageError(
            "the file of trusted certificates is not there",
            where=path,
            hint=f"it is named by {source}; correct or unset that",
        )
    return path


def _condarcs(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Conda's configuration files, the last one weighs most (``conda config --help``)."""
    folders = [
        Path("C:/ProgramData/conda") if sys.platform == "win32" else Path("/etc/conda"),
        Path("/var/lib/conda"),
        Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "conda",
        home / ".conda",
    ]
    if executable := environ.get("CONDA_EXE"):
        folders.insert(2, Path(executable).parent.parent)
    for folder in folders:
        yield from (folder / ".condarc", folder / "condarc")
        if (more := folder / "condarc.d").is_dir():
            yield from sorted(p for p in more.iterdir() if p.suffix in {".yml", ".yaml"})
    yield home / ".condarc"
    if prefix := environ.get("CONDA_PREFIX"):
        yield Path(prefix, ".condarc")
    if named := environ.get("CONDARC"):
        yield Path(named)


def _conda(environ: Mapping[str, str], home: Path) -> dict[str, Any]:
    """What conda's configuration says of the network; under ``""`` the file that said it last."""
    merged: dict[str, Any] = {}
    for path in _condarcs(environ, home):
        if path.is_file() and _OF_INTEREST.search(text := atomic.read(path, _LIMIT)):
            for key, value in _yaml(path, text).items():
                both = isinstance(value, dict) and isinstance(merged.get(key), dict)
                merged[key] = _expanded({**merged[key], **value} if both else value, environ)
            merged[""] = path
    return merged


def _yaml(path: Path, text: bytes) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, UnicodeDecodeError):
        # The fault may quote the line, and the line may hold a proxy's password.
        raise UsageError("conda's configuration is not valid YAML", where=path) from None
    return content if isinstance(content, dict) else {}


def _expanded(value: Any, environ: Mapping[str, str]) -> Any:
    """Values with ``$VARIABLE`` filled in, as conda does."""
    if isinstance(value, dict):
        return {key: _expanded(inner, environ) for key, inner in value.items()}
    return string.Template(value).safe_substitute(environ) if isinstance(value, str) else value


def _mirrors(environ: Mapping[str, str], home: Path) -> dict[str, tuple[str, ...]]:
    """``[mirrors]`` of the ``config.toml`` that pixi and rattler-build read, the user's own last."""
    settings = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    own = Path(environ.get("PIXI_HOME") or home / ".pixi")
    tools = ("rattler", "pixi")
    folders = [*(Path("/etc", tool) for tool in tools), *(settings / tool for tool in tools), own]
    found: dict[str, tuple[str, ...]] = {}
    for path in (folder / "config.toml" for folder in folders):
        if path.is_file():
            try:
                table = tomllib.loads(atomic.read(path, _LIMIT).decode()).get("mirrors", {})
                found |= {
                    str(key).rstrip("/"): tuple(map(str, urls)) for key, urls in table.items()
                }
            except (ValueError, AttributeError, TypeError):
                raise UsageError("not a configuration with mirrors", where=path) from None
    return {prefix: kept for prefix, urls in found.items() if (kept := _usable(urls))}


def _usable(urls: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(url for url in urls if urlsplit(url).scheme in {"http", "https", "file"})

"""The settings for the network in conda's and in rattler's configuration files.

Sources: ``conda config --help`` (search path, merging, ``$VARIABLE``), pixi's reference of its
``config.toml`` (``[mirrors]``, ``[proxy-config]``, ``authentication-override-file``,
``tls-no-verify``).
"""

from __future__ import annotations

import re
import string
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from msgspec import field

from repack.errors import UsageError
from repack.fs import atomic, beneath
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LIMIT: Final = 4 << 20
# ruamel.yaml costs a tenth of a second; most configurations say nothing of the network.
_OF_INTEREST: Final = re.compile(rb"^\s*(proxy_servers|ssl_verify|client_ssl_cert)", re.MULTILINE)
_FROM_ENVIRONMENT: Final = ("ssl_verify", "client_ssl_cert", "client_ssl_cert_key")


class CondaSettings(Value, frozen=True):
    """What conda is told of the network.

    Attributes:
        values: merged over all files, variables filled in.
        sources: the file or variable that said each value last.
    """

    hidden_fields: ClassVar = ("values",)

    values: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, environ: Mapping[str, str], home: Path) -> CondaSettings:
        """Read every condarc, then ``CONDA_…`` of the environment.

        Raises:
            UsageError: one of them is no YAML.
        """
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for path in condarc_paths(environ, home):
            if path.is_file() and _OF_INTEREST.search(text := atomic.read(path, _LIMIT)):
                for key, value in read_condarc(path, text).items():
                    are_maps = isinstance(value, dict) and isinstance(values.get(key), dict)
                    merged = {**values[key], **value} if are_maps else value
                    values[key] = expand_variables(merged, environ)
                    sources[key] = f"{key} in {path}"
        for key in _FROM_ENVIRONMENT:
            if value := environ.get(f"CONDA_{key.upper()}"):
                values[key], sources[key] = value, f"CONDA_{key.upper()}"
        return cls(values, sources)

    def path(self, key: str) -> Path | None:
        """The path that ``key`` names, if it names one."""
        value = self.values.get(key)
        return Path(value).expanduser() if isinstance(value, str) and value else None

    def proxies(self) -> dict[str, str]:
        """``proxy_servers``: by scheme or by ``scheme://host``."""
        servers = self.values.get("proxy_servers")
        servers = servers if isinstance(servers, dict) else {}
        return {str(key).lower(): str(value) for key, value in servers.items() if value}


def condarc_paths(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
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
        if (fragments := folder / "condarc.d").is_dir():
            with atomic.os_errors_at(fragments):
                names = [entry.name for entry in beneath.scan(fragments)]
            yield from (fragments / name for name in names if name.endswith((".yml", ".yaml")))
    yield home / ".condarc"
    if prefix := environ.get("CONDA_PREFIX"):
        yield Path(prefix, ".condarc")
    if condarc := environ.get("CONDARC"):
        yield Path(condarc)


def read_condarc(path: Path, text: bytes) -> dict[str, Any]:
    """The settings in one of conda's configuration files.

    Raises:
        UsageError: it is no YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, UnicodeDecodeError):
        # The error may quote the line, and the line may hold a proxy's password.
        raise UsageError("conda's configuration is not valid YAML", where=path) from None
    return content if isinstance(content, dict) else {}


def expand_variables(value: Any, environ: Mapping[str, str]) -> Any:
    """Values with ``$VARIABLE`` filled in, as conda does."""
    if isinstance(value, dict):
        return {key: expand_variables(inner, environ) for key, inner in value.items()}
    if isinstance(value, list):
        return [expand_variables(inner, environ) for inner in value]
    return string.Template(value).safe_substitute(environ) if isinstance(value, str) else value


class RattlerSettings(Value, frozen=True):
    """What rattler's tools are told of the network, in the ``config.toml`` they share.

    Attributes:
        mirrors: URL prefix to the prefixes that are asked instead of it, in order.
        proxies: by scheme.
        no_proxy: hosts that are reached directly.
        auth_file: a credentials file in place of the usual one.
        unverified: the file that says ``tls-no-verify``, if one does.
        sources: the file that said each mirrored prefix and each proxy's scheme.
    """

    hidden_fields: ClassVar = ("mirrors", "proxies", "sources")

    mirrors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    proxies: dict[str, str] = field(default_factory=dict)
    no_proxy: tuple[str, ...] = ()
    auth_file: Path | None = None
    unverified: Path | None = None
    sources: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, environ: Mapping[str, str], home: Path) -> RattlerSettings:
        """Read the files of the system, of rattler and of pixi, the user's own last.

        Raises:
            UsageError: one of them is no such configuration.
        """
        config_home = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        folders = [
            *(Path("/etc", tool) for tool in ("rattler", "pixi")),
            *(config_home / tool for tool in ("rattler", "pixi")),
            Path(environ.get("PIXI_HOME") or home / ".pixi"),
        ]
        settings = cls()
        for path in (folder / "config.toml" for folder in folders):
            if path.is_file():
                try:
                    document = tomllib.loads(atomic.read(path, _LIMIT).decode())
                    settings = settings._with_file(document, path)
                except (ValueError, AttributeError, TypeError):
                    raise UsageError(
                        "not a configuration with mirrors and proxies", where=path
                    ) from None
        return settings

    def _with_file(self, document: Mapping[str, Any], path: Path) -> RattlerSettings:
        mirrors = {
            str(prefix).rstrip("/"): tuple(url for url in map(str, urls) if _is_usable(url))
            for prefix, urls in document.get("mirrors", {}).items()
        }
        table = document.get("proxy-config", {})
        proxies = {key: str(table[key]) for key in ("http", "https") if table.get(key)}
        hosts = table.get("non-proxy-hosts", ())
        auth_file = document.get("authentication-override-file")
        return RattlerSettings(
            mirrors={**self.mirrors, **mirrors},
            proxies={**self.proxies, **proxies},
            no_proxy=tuple(str(host).lower() for host in hosts) or self.no_proxy,
            auth_file=Path(auth_file).expanduser() if auth_file else self.auth_file,
            unverified=path if document.get("tls-no-verify") is True else self.unverified,
            sources={**self.sources, **dict.fromkeys((*mirrors, *proxies), str(path))},
        )


def _is_usable(url: str) -> bool:
    """Whether a mirror is one that HTTP or a folder serves; ``oci`` and ``s3`` are left out."""
    return urlsplit(url).scheme in {"http", "https", "file"}

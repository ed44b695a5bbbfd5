"""Environments as conda 4.3 and conda 26 leave them, and what their ``conda info --json`` says.

Fields and their order are those that conda 4.3.16 and 26.7.1 wrote when they installed a small
channel; tests/inputs/test_prepared_environment.py also runs both, where they are.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.archives import Package

Age = Literal["current", "old"]
HOST = "https://conda.example.org/prometeia"


@dataclass
class Environment:
    """An environment below ``root``, made file by file."""

    root: Path
    age: Age = "current"
    platform: str = "linux-64"
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.prefix / "conda-meta").mkdir(parents=True)
        (self.prefix / "conda-meta" / "history").touch()
        self.cache.mkdir()

    @property
    def prefix(self) -> Path:
        return self.root / "env"

    @property
    def cache(self) -> Path:
        return self.root / "pkgs"

    @property
    def suffix(self) -> str:
        return ".conda" if self.age == "current" else ".tar.bz2"

    def add(self, package: Package, **changes: Any) -> Path:
        """Install ``package`` and return its archive in the cache; None drops a field."""
        data = package.conda() if self.age == "current" else package.bz2()
        archive = self.cache / (package.dist + self.suffix)
        archive.write_bytes(data)
        record = self._record(package, data) | changes
        record = {key: value for key, value in record.items() if value is not None}
        self.records[archive.name] = record
        self._write(
            self.prefix / "conda-meta" / f"{package.dist}.json", record | self._own(package)
        )
        unpacked = self.cache / package.dist / "info"
        unpacked.mkdir(parents=True)
        (unpacked / "index.json").write_bytes(package.info_files()["info/index.json"])
        return archive

    def remember(self, package: Package, **changes: Any) -> None:
        """Write ``repodata_record.json`` into the unpacked copy."""
        record = self._record(package, package.conda()) | changes
        self._write(self.cache / package.dist / "info" / "repodata_record.json", record)

    def info(self, **changes: Any) -> Path:
        """Write ``envinfo.json``."""
        document: dict[str, Any] = {
            "channels": [f"{HOST}/{self.platform}", f"{HOST}/noarch"],
            "conda_version": "26.7.1" if self.age == "current" else "4.3.16",
            "default_prefix": str(self.prefix),
            "env_vars": {"CIO_TEST": "<not set>", "PATH": "/usr/bin"},
            "envs_dirs": [str(self.root)],
            "pkgs_dirs": [str(self.root / "none"), str(self.cache)],
            "platform": self.platform,
            "root_prefix": "/opt/conda",
            "sys.version": "3.12.1 (main)",
        }
        if self.age == "current":
            document["active_prefix"] = str(self.prefix)
            document["env_vars"]["CONDA_PREFIX"] = str(self.prefix)
            document["virtual_pkgs"] = [["__glibc", "2.36", "0"], ["__conda", "26.7.1", "0"]]
        path = self.root / "envinfo.json"
        self._write(path, {**document, **changes})
        return path

    def _record(self, package: Package, data: bytes) -> dict[str, Any]:
        record = {
            "name": package.name,
            "version": package.version,
            "build": package.build,
            "build_number": 0,
            "depends": ["zlib"],
            "license": "MIT",
            "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
            "size": len(data),
            "subdir": package.subdir,
            **package.index,
        }
        if self.age == "current":
            record["sha256"] = hashlib.sha256(data).hexdigest()
            record["constrains"] = []
            record["timestamp"] = 1_700_000_000_000
        return record

    def _own(self, package: Package) -> dict[str, Any]:
        """What the client adds to a record."""
        fn = package.dist + self.suffix
        fields: dict[str, Any] = {
            "channel": f"{HOST}/{package.subdir}",
            "files": sorted(package.files),
            "fn": fn,
            "link": {"source": str(self.cache / package.dist), "type": 1},
            "url": f"{HOST}/{package.subdir}/{fn}",
        }
        if self.age == "old":
            return fields | {
                "arch": None,
                "auth": None,
                "platform": None,
                "preferred_env": None,
                "priority": 0,
                "schannel": HOST,
                "with_features_depends": {},
            }
        return fields | {
            "extracted_package_dir": str(self.cache / package.dist),
            "package_tarball_full_path": str(self.cache / fn),
            "package_type": "noarch_python",
            "paths_data": {"paths": [], "paths_version": 1},
            "requested_spec": package.name,
            "requested_specs": [package.name],
        }

    @staticmethod
    def _write(path: Path, document: dict[str, Any]) -> None:
        path.write_text(json.dumps(document), encoding="utf-8")

"""A report of a small made-up release, and a world whose packages mean harm."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from repack.report.document import (
    Check,
    Difference,
    PastRelease,
    Report,
    ReportBundle,
    ReportFile,
    ReportPackage,
    ReportPlatform,
    ReportSignature,
)
from tests import tiny

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = "<script>document.title='owned'</script>"
TURNED = "invoice\u202egpj.exe"


def package(name: str, **changes: Any) -> ReportPackage:
    """A package of linux-64, asked for by name."""
    plain = ReportPackage(
        path=f"linux-64/{name}-1.0-0.conda",
        name=name,
        version="1.0",
        build="0",
        subdir="linux-64",
        size=1000,
        sha256="ab" * 32,
        sha384="cd" * 48,
        licence="MIT",
        licence_verdict="allowed",
        licence_is_spdx=True,
        summary=f"{name} does things",
        home="https://example.org",
        kind="upstream",
        source="https://conda.example.org/prometeia",
        hotfixed=(),
        scripts=(),
        why={"linux-64": (name,)},
        depends=(),
    )
    return replace(plain, **changes)


def report(*packages: ReportPackage, **changes: Any) -> Report:
    """A release with ``packages``."""
    platform = ReportPlatform(
        "linux-64", ("a",), ("__glibc 2.17",), None, "linked", len(packages), 1000, None
    )
    plain = Report(
        repack="0.1.0",
        label="halkbank",
        description="HalkBank, risk desk",
        release=2,
        date="2026-11-20T12:00:00Z",
        platforms=(platform,),
        signature=ReportSignature("own", "oem-updates, fingerprint 0123", ("root: 1 of abcd",)),
        channels=("https://conda.example.org/prometeia",),
        health_check=("python", "-c", "import a"),
        after_install="restart",
        after_bundles="restart",
        policy=("denied: AGPL-*",),
        packages=packages,
        bundles=(
            ReportBundle(
                "models", "1", "noarch/m-1-0.conda", 1, 3, (ReportFile("a", 3, "ef" * 32),)
            ),
        ),
        since=1,
        changes=(Difference("a", ("linux-64",), "downgraded", "2.0", "1.0", 5, 6),),
        releases=(
            PastRelease(1, "2026-11-19T12:00:00Z", 1, 5, 5),
            PastRelease(2, "2026-11-20", 2, 9, 4),
        ),
        checks=(Check("Licences", "passed", "fine", "2026-11-20T12:00:00Z"),),
        warnings=("linux-64: careful",),
        new_bytes=1000,
    )
    return replace(plain, **changes)


def hostile() -> tuple[tiny.Package, ...]:
    """The tiny channel, with packages whose metadata attacks whoever reads it."""
    python, pip, lib, data, app = tiny.PACKAGES
    return (
        python,
        pip,
        dataclasses.replace(lib, about={"summary": SCRIPT, "home": "javascript:alert(1)"}),
        dataclasses.replace(
            data,
            hotfix={"license": f"{SCRIPT}\"'><img src=x onerror=alert(1)>"},
            about={"summary": "x" * 10_000, "license": SCRIPT},
        ),
        dataclasses.replace(
            app,
            hotfix={**app.hotfix, "license": None},
            about={"summary": f"{TURNED} \u05d0\u05d1\u05d2 {{{{ 7 * 7 }}}}"},
        ),
    )


def crowd(count: int) -> tuple[tiny.Package, ...]:
    """``count`` packages, each but the first two needed by one before it, in a known way."""
    names = [f"part-{number:03}" for number in range(count)]
    return tuple(
        tiny.Package(
            name,
            f"{number % 7}.{number % 11}.{number}",
            tuple(names[2 * number + 1 : 2 * number + 3]),
            ("linux-64", "noarch")[number % 3 == 0],
            None if number % 3 else "generic",
            f"py311h{number:07}_0",
            {f"share/{name}": name * (number * number % 997)},
            {"license": ("MIT", "BSD-3-Clause", "Apache-2.0 AND Zlib", "BSD")[number % 4]},
            {"summary": f"The part {number}, which does what parts do when they are asked nicely."},
        )
        for number, name in enumerate(names)
    )


def bundle(folder: Path) -> dict[str, Any]:
    """A label's ``bundles`` with two files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(b"w" * 3000)
    (folder / "notes & more.txt").write_text("n")
    return {"models": {"path": str(folder), "version": "2024.10.0"}}

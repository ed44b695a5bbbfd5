"""``repack doctor``: what this machine lacks, and how it reaches channels."""

from __future__ import annotations

import os
from pathlib import Path

import click

from repack.cli.shared import options, output, project


@click.command()
@click.option(
    "--network",
    "urls",
    metavar="URL",
    multiple=True,
    help="Say how the channel at URL is reached: mirror, certificates, proxy, credentials.",
)
@options.channels_dir
@options.store
@options.as_json
def command(urls: tuple[str, ...], channels_dir: Path, store: Path, *, as_json: bool) -> int:
    """Say what this machine offers a build and what it lacks; exit 1 if a build cannot work."""
    if urls:
        return _show_routes(urls, as_json=as_json)
    from repack.support.doctor import DoctorFinding, examine

    findings = [
        *examine(store, channels_dir),
        *(DoctorFinding(what, "ok", text) for what, text in project.explain(options.environment())),
    ]
    lines = (f"{finding.verdict:<5}{finding.what:<24} {finding.text}" for finding in findings)
    output.emit(findings, lines, as_json=as_json)
    return 1 if any(finding.verdict == "lack" for finding in findings) else 0


def _show_routes(urls: tuple[str, ...], *, as_json: bool) -> int:
    from repack.support.network import find_routes
    from repack.upstream.network import Network

    network = Network.from_environment(os.environ, Path.home())
    routes = [route for url in urls for route in find_routes(url, network)]
    output.emit(routes, (line for route in routes for line in route.lines()), as_json=as_json)
    return 0

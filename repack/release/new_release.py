"""A new release: numbered, indexed, reported and signed; then proved and published.

Imported by the line only when a build changes something, because the templates, the licence
database and the index writers that it needs take longer to import than an unchanged build runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from repack.advisories.document import ADVISORIES_PATH
from repack.advisories.openvex import OPENVEX_PATH, openvex
from repack.bundle.package import manifest_package, metapackage
from repack.channel import history, manifest
from repack.channel.contents import ChannelContents, check_same_content
from repack.channel.folder import ChannelTree
from repack.channel.index import index
from repack.channel.layout import METADATA_DIR, check_names
from repack.channel.metadata_folder import newest, read_folder
from repack.fs.atomic import write
from repack.fs.walk import read_or_none
from repack.names import RelPath
from repack.prove.channel import prove_channel
from repack.release.bootstrap import pack_environments
from repack.release.checks import check_licences, check_scripts, search_secrets
from repack.release.draft import artifacts, file_entries, installer_files
from repack.release.outcome import Outcome, platform_results
from repack.release.own_packages import pack_package
from repack.release.published import next_number
from repack.report.compose import ReportSubject, compose_report
from repack.report.history import describe_bundles, earlier_releases
from repack.report.overview import write_page
from repack.report.render import render_report
from repack.store.inspect import inspect
from repack.timestamps import stamp
from repack.trust.sign import Contents, outlook, sign

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.channel.manifest import Release
    from repack.conda.record import Record
    from repack.prove.proof import Proof
    from repack.release.context import BuildContext
    from repack.release.draft import Draft
    from repack.release.published import PublishedRelease
    from repack.report.document import Report


class NewRelease(Struct, frozen=True):
    """A release that is ready to be staged.

    Attributes:
        draft: what it was made from.
        release: its number and time.
        contents: all packages, those that carry the number included.
        requested: per subdir the packages a target asks for to get all others.
        tree: every file of the channel.
        report: what its report says.
        before: path -> SHA-256 of the packages of the release that is published now.
        warnings: what a release engineer should know.
    """

    draft: Draft
    release: Release
    contents: ChannelContents
    requested: Mapping[str, tuple[Record, ...]]
    tree: ChannelTree
    report: Report
    before: Mapping[str, str]
    warnings: tuple[str, ...]

    def outcome(self, proofs: Mapping[str, Proof], context: BuildContext) -> Outcome:
        """What the build did, once the release is published."""
        folder, packages = context.channels.published(context.label.name), self.contents.items
        return Outcome(
            label=context.label.name,
            state="published",
            release=self.release.number,
            channel=str(folder),
            platforms=platform_results(self.contents, proofs),
            added=tuple(path for path in packages if path not in self.before),
            removed=tuple(sorted(self.before.keys() - packages.keys())),
            since=self.report.since,
            differences=self.report.changes,
            new_bytes=self.report.new_bytes,
            settings=self.report.setting_changes,
            warnings=(
                *self.warnings,
                *outlook(read_folder(folder / METADATA_DIR), context.settings.now),
            ),
        )


def compose_release(
    draft: Draft, published: PublishedRelease | None, context: BuildContext
) -> NewRelease:
    """Give the draft its number and make every file of the release, signed ones included.

    The report is among the signed files, so it is composed before them; what it says of the proof
    holds because nothing is published without it.

    Raises:
        ProofError: a package's licence is denied, or the label is strict and there are warnings.
        IntegrityError: a name was published with other content before, or a secret was found.
        KeyRefusedError: a key that is needed cannot be used.
        SpaceError: the disk is full.
    """
    channels, label, now = context.channels, context.label, context.settings.now
    solution, signing = draft.solution, draft.signing
    warnings = (
        *check_scripts(draft.contents, label),
        *check_licences(draft.contents, solution.requests, label),
    )
    records = [package.record for package in draft.contents.items.values()]
    check_same_content(history.past_packages(channels, label.name), records)
    release = draft.release(next_number(channels, label.name, published), stamp(now))
    contents, requested = add_release_packages(draft, release, context)
    archives = {path: context.store.path(p.record.sha256) for path, p in contents.items.items()}
    environments = pack_environments(contents, release.number, context)
    archives |= {
        path: context.store.path(entry.sha256) for path, entry in environments.by_path.items()
    }
    texts = {
        **draft.texts,
        **installer_files(requested, contents, label),
        **environments.scripts,
        **index(contents),
    }
    subject = ReportSubject(
        label=label,
        release=release,
        contents=contents,
        solution=solution,
        signing=signing,
        texts=texts,
        bundles=describe_bundles(label, contents, archives),
        read_whole=len(solution.unique_records),
        warnings=(*solution.warnings, *warnings),
        judgement=draft.judgement,
    )
    since = published.release if published else None
    report = compose_report(subject, earlier_releases(channels, label.name, since))
    texts |= render_report(report)
    if draft.judgement is not None:
        texts[ADVISORIES_PATH] = draft.judgement.to_bytes()
        texts[OPENVEX_PATH] = openvex(draft.judgement, label.name, release.number, stamp(now))
    files = Contents(
        (*file_entries(contents, texts), *environments.entries),
        (*artifacts(contents), *environments.artifacts),
    )
    with context.progress.phase("sign", None, "files"):
        texts |= sign(release, files, signing, newest(channels, label.name), now)
    tree = ChannelTree(archives, texts)
    check_names(tree.paths)
    secrets = label.secrets | solution.secrets | context.upstream.secrets() | signing.secrets
    search_secrets(texts, archives, secrets)
    before = published.packages if published else {}
    return NewRelease(draft, release, contents, requested, tree, report, before, warnings)


def add_release_packages(
    draft: Draft, release: Release, context: BuildContext
) -> tuple[ChannelContents, dict[str, tuple[Record, ...]]]:
    """Make the manifest package and, per subdir, the metapackage of ``release``.

    Returns:
        The contents with them, and per subdir what a target asks for to get all of it.

    Raises:
        SpaceError: the disk is full.
    """
    name, contents = context.label.name, draft.contents
    inner = manifest.build(release.head(), artifacts(contents))
    if draft.signing.hmac is not None:
        inner = inner.signed(draft.signing.hmac)
    carried = {
        "manifest.json": inner.to_bytes(),
        "lock.yml": draft.texts[RelPath("repack/lock.yml")],
        "profile.json": draft.texts[RelPath("repack/profile.json")],
    }
    described = pack_package(manifest_package(name, release.number, carried), context)
    packages, requested = [described], {}
    for subdir, roots in draft.roots.items():
        requested[subdir] = (*roots, described)
        if any(record.name == name for record in contents.records_by_subdir[subdir]):
            context.progress.note(f"{subdir}: a package is called {name!r} like the label itself")
            continue
        requested[subdir] = (
            pack_package(metapackage(name, release.number, subdir, requested[subdir]), context),
        )
        packages += requested[subdir]
    facts = inspect([(record, "info") for record in packages], context.store, "sha384")
    return contents.with_packages(packages, facts), requested


def prove_release(release: NewRelease, staged: Path, context: BuildContext) -> dict[str, Proof]:
    """Prove every subdir of the staged channel.

    Raises:
        ProofError: the channel alone does not give these packages, or they do not install.
        IntegrityError: packages would write out of the prefix.
    """
    solution = release.draft.solution
    proof_context = context.proof(solution)
    return prove_channel(
        solution.requests, release.contents, release.requested, staged, proof_context
    )


def publish_release(release: NewRelease, context: BuildContext) -> None:
    """Write the lock, publish the staged channel, and keep its metadata in the history.

    Raises:
        SpaceError: the disk is full.
        PlaceError: a folder cannot be written.
    """
    channels, label, lock = context.channels, context.label, release.draft.solution.lock
    if read_or_none(context.lock) != lock:
        write(context.lock, lock)
    channels.publish(label.name, release.tree)
    channels.remember(label.name, release.release.number, release.tree.texts)
    channels.forget(label.name, label.keep_releases, release.release.number)
    if context.session.writes_overview:
        write_page(channels)

"""A label that no file defines: its name, channels and platforms stand on the command line.

It is read by the same rules as a file, so every check and every secret is found in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from msgspec import field

from repack.codec.tree import tree_of
from repack.label.reader import label_of_tree
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.label.label import Label, PackageFormat
    from repack.label.reader import LabelContext


class UnwrittenLabel(Value, frozen=True):
    """What the command line, or the file that it names, says of a label.

    Attributes:
        where: who says it, for messages: "the command line", or a file.
        channels: URLs, paths or names in priority order; may hold secrets and ``${NAME}``.
        platforms: by subdir the virtual packages that differ from the defaults (None takes one
            away) and, as ``conda``, the oldest conda in use.
        packages: MatchSpecs; none when a prepared environment brings the packages.
        source: a lock or environment file that says the packages instead.
    """

    hidden_fields: ClassVar = ("channels",)

    where: str
    name: str
    channels: tuple[str, ...]
    platforms: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    package_format: PackageFormat = "keep"
    source: str | None = None


def label_without_file(request: UnwrittenLabel, context: LabelContext) -> Label:
    """The label that ``request`` describes.

    Raises:
        LabelError: it has mistakes; holds all of them.
    """
    document: dict[str, object] = {
        "label": request.name,
        "channels": list(request.channels),
        "platforms": {subdir: dict(values) for subdir, values in request.platforms.items()},
        "package_format": request.package_format,
    }
    if request.source is not None:
        document["from"] = request.source
    elif context.packages_from == "label":
        document["packages"] = list(request.packages)
    return label_of_tree(tree_of(document), request.where, context)

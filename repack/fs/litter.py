"""Files that operating systems leave in every folder they show; they are neither read nor copied."""

from __future__ import annotations

import re
from typing import Final

# What Windows, macOS, Linux desktops, NFS and Synology strew about, what conda-index (`.cache`) and
# Python leave behind, and what a writer that was killed did.
_LITTER: Final = re.compile(
    r"(?i)\.DS_Store|Thumbs\.db|desktop\.ini|System Volume Information|\.cache|__pycache__|@eaDir"
    r"|\.Spotlight-V100|\.fseventsd|\.Trash-[0-9]+|\.nfs[0-9a-f]{8,32}|.+:Zone\.Identifier"
    r"|\._.*|\.repack-.*",
    re.DOTALL,
)

HARMLESS: Final = re.compile(
    r"(?i)(.*/)?(\._[^/]+|\.DS_Store|Thumbs\.db|desktop\.ini|\.repack-[^/]+|\.nfs[0-9a-f]{8,32}"
    r"|[^/]+:Zone\.Identifier"
    r"|@eaDir/([^/]+@Syno(EAStream|Resource)|[^/]+/SYNO\w+(\.jpg|\.fail)?))"
    r"|\.fseventsd/([0-9a-f]{16}|fseventsd-uuid|no_log)"
    r"|\.Spotlight-V100/(VolumeConfiguration\.plist|Store-V[12]/([\w-]+/)*([\w.-]+"
    r"\.(index\w+|shadow\w*|plist|db|updates|state|map|txt|created)|\.?[\w-]+))"
    r"|\.Trash-[0-9]+/(info/[^/]+\.trashinfo|directorysizes"
    r"|files/.+\.(conda|bz2|zst|json|yml|txt|md))"
    r"|repack/\.repack-metadata/([1-9][0-9]*\.)?[a-z]+\.json|repack/\.repack-metadata/SHA256SUMS"
    r"|[a-z0-9-]+/\.cache/(cache\.db(-[a-z]+)?|[^/]+\.json)"
    r"|System Volume Information/(IndexerVolumeGuid|WPSettings\.dat)"
)
"""Files that may lie in a channel and are in no list. Of folders only those that systems make hold
any, and only what systems put there: ``._x/`` and ``.repack-tools/`` are as foreign as ``x/``. No
program bears such a name; of what lies in a trash only what could lie in a channel is passed over.
``repack/.repack-metadata`` is where new metadata waits (:mod:`repack.channel.metadata_folder`)."""
SYSTEM_FOLDER: Final = "system volume information"


def is_litter(name: str) -> bool:
    """Whether a file or folder is what systems and tools drop; never ours, never signed."""
    return _LITTER.fullmatch(name) is not None

"""Files that operating systems leave in every folder they show; they are neither read nor copied."""

from __future__ import annotations

import re
from typing import Final

# What systems strew about, and what conda-index (`.cache`) and Python leave behind.
_LITTER: Final = frozenset(
    {
        ".ds_store",
        "thumbs.db",
        "desktop.ini",
        "system volume information",
        ".cache",
        "__pycache__",
    }
)


HARMLESS: Final = re.compile(
    r"(?i)(.*/)?(\._[^/]+|\.DS_Store|Thumbs\.db|desktop\.ini|\.repack-[^/]+)"
    r"|[a-z0-9-]+/\.cache/(cache\.db(-[a-z]+)?|[^/]+\.json)"
    r"|System Volume Information/(IndexerVolumeGuid|WPSettings\.dat)"
)
"""Files that may lie in a channel and are in no list. Of folders only those that systems make hold
any, and only what systems put there: ``._x/`` and ``.repack-tools/`` are as foreign as ``x/``."""
SYSTEM_FOLDER: Final = "system volume information"


def is_litter(name: str) -> bool:
    """Whether a file or folder is what systems and tools drop; never ours, never signed."""
    return name.lower() in _LITTER or name.lower().startswith(("._", ".repack-"))

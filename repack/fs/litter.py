"""Files that operating systems leave in every folder they show; they are neither read nor copied."""

from __future__ import annotations

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


def is_litter(name: str) -> bool:
    """Whether a file or folder is what systems and tools drop; never ours, never signed."""
    return name.lower() in _LITTER or name.lower().startswith(("._", ".repack-"))

"""What may stand in a label file: one JSON schema, for repack's reader and for editors alike."""

from __future__ import annotations

import copy
from typing import Any, Final

Schema = dict[str, Any]

_VERSION: Final = {
    "type": "string",
    "pattern": r"^[0-9]+(\.[0-9A-Za-z]+)*$",
    "form": "a version such as '2.17'",
}
_DAYS: Final = {"type": "integer", "minimum": 1, "maximum": 36500}
_ROLE_NAMES: Final = ("root", "targets", "snapshot", "timestamp", "ci", "production")
_PATH: Final = {"type": "string", "pattern": r"\S", "form": "a path"}
_SPECS: Final = {"type": "array", "items": {"type": "string"}}


def _virtual(about: str) -> Schema:
    return {
        **_VERSION,
        "type": ["string", "boolean", "null"],
        "description": f"{about}; null or false: the target does not have it.",
    }


_ARCHSPEC: Final = {
    "type": ["string", "boolean", "null"],
    "pattern": "^[a-z0-9_]+$",
    "form": "the name of a microarchitecture such as 'skylake'",
    "description": "Microarchitecture by archspec's names. Default: x86_64.",
}
_CONDA: Final = {**_VERSION, "description": "The oldest conda in use on such targets."}


def _after(when: str) -> Schema:
    return {
        "type": "string",
        "enum": ["none", "restart", "reboot"],
        "description": f"{when}. Default: none.",
    }


_LINUX: Final = {
    "__glibc": _virtual("glibc's version. Default: 2.17"),
    "__linux": _virtual("The kernel's version. Default: 3.10"),
    "__unix": _virtual("A Unix. Default: 0, as conda has it"),
    "__archspec": _ARCHSPEC,
    "__cuda": _virtual("The highest CUDA version that the driver supports. Default: none"),
    "conda": _CONDA,
}
_WINDOWS: Final = {
    "__win": _virtual("Windows' version, as in 10.0.19045. Default: 0, that is: any"),
    "__archspec": _ARCHSPEC,
    "__cuda": _virtual("The highest CUDA version that the driver supports. Default: none"),
    "conda": _CONDA,
}


def _table(properties: Schema, about: str, required: tuple[str, ...] = ()) -> Schema:
    return {
        "type": "object",
        "description": about,
        "properties": properties,
        "additionalProperties": False,
        "required": list(required),
    }


_BUNDLE: Final = _table(
    {
        "path": {**_PATH, "description": "The folder to pack."},
        "version": {
            "type": "string",
            "pattern": r"^[0-9A-Za-z][0-9A-Za-z.!+_]*$",
            "form": "a conda version such as '2024.10.0'",
            "description": "The package's version.",
        },
        "compression_level": {
            "type": "integer",
            "minimum": 1,
            "maximum": 19,
            "description": "Of zstd. Default: 9.",
        },
        "license": {"type": "string", "description": "SPDX expression of the data's licence."},
    },
    "One folder of models, strategies or other data.",
    ("path", "version"),
)

_SOURCE: Final = {
    "type": ["string", "array", "object"],
    "description": "A lock or environment file, or several, to take the packages from.",
    "items": _PATH,
    "minItems": 1,
    "properties": {
        "file": _PATH,
        "environment": {"type": "string", "description": "pixi.lock: which. Default: default."},
        "categories": {
            **_SPECS,
            "description": "conda-lock.yml: which categories. Default: [main].",
        },
    },
    "additionalProperties": False,
    "required": ["file"],
}

_SIGNING: Final = _table(
    {
        "hmac": {
            "type": "string",
            "pattern": r"\S",
            "form": "a key such as 'env:REPACK_HMAC_KEY'",
            "description": "Shared key: [KEYID=]env:NAME, file:PATH, hex:… or base64:….",
        },
        "key_id": {
            "type": "string",
            "pattern": r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$",
            "form": "a key id of letters, digits and . _ : @ -",
            "description": "The shared key's name in manifests.",
        },
        "keys": {
            **_PATH,
            "description": "Folder with the label's signing keys. Default: keys/NAME.",
        },
        "expiry": _table(
            dict.fromkeys(_ROLE_NAMES, _DAYS), "Days until the metadata of a role expires."
        ),
        "thresholds": _table(
            {role: {"type": "integer", "minimum": 1, "maximum": 20} for role in _ROLE_NAMES},
            "How many keys of a role must sign.",
        ),
    },
    "How releases are signed.",
)

_INSTALLER: Final = _table(
    {
        "url": {"type": "string", "pattern": r"\S", "form": "a URL"},
        "sha256": {
            "type": "string",
            "pattern": "^[0-9A-Fa-f]{64}$",
            "form": "a SHA-256 of 64 hex digits",
        },
    },
    "A file that a bare target needs first; it is carried on media.",
    ("url", "sha256"),
)

_ADVISORIES: Final = _table(
    {
        "source": {**_PATH, "description": "A zip, a folder or a JSON file of OSV entries."},
        "max_age": {
            "type": "string",
            "pattern": "^[1-9][0-9]{0,3}d$",
            "form": "a number of days such as '7d'",
            "description": "An older database is told. Default: 7d.",
        },
        "deny": {
            "type": "string",
            "enum": ["low", "medium", "high", "critical"],
            "description": "Vulnerabilities this grave and graver fail the build. Default: none do.",
        },
        "accept": {
            "type": "array",
            "items": _table(
                {
                    "id": {
                        "type": "string",
                        "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$",
                        "form": "an identifier such as 'CVE-2026-1234'",
                    },
                    "until": {"type": "string", "format": "date"},
                    "why": {"type": "string", "pattern": r"\S", "form": "a reason"},
                },
                "An advisory that does not concern this label, up to the end of a day.",
                ("id", "until", "why"),
            ),
            "description": "Advisories that are accepted, each with a last day and a reason.",
        },
    },
    "Which vulnerabilities of packages are known, and which are refused.",
    ("source",),
)

SCHEMA: Final[Schema] = _table(
    {
        "$schema": {"type": "string", "description": "For editors; repack ignores it."},
        "label": {"type": "string", "description": "The label's name, the same as the file's."},
        "description": {"type": "string", "description": "One line for people."},
        "channels": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string"},
            "description": "Upstream channels in priority order: URLs, paths, or conda-forge.",
        },
        "packages": {**_SPECS, "minItems": 1, "description": "MatchSpecs to install."},
        "from": _SOURCE,
        "platforms": {
            **_table(
                {
                    "linux-64": _table(_LINUX, "64-bit x86 Linux."),
                    "win-64": _table(_WINDOWS, "64-bit x86 Windows."),
                },
                "Target profiles by platform; {} or nothing for the defaults.",
            ),
            "minProperties": 1,
            "others": "repack builds for linux-64 and win-64",
            "sample": "write linux-64: {} or win-64: {}",
        },
        "constraints": {**_SPECS, "description": "MatchSpecs that bound but do not pull in."},
        "exclude_newer": {
            "type": "string",
            "format": "date",
            "description": "Packages built after this day or time (UTC) do not exist.",
        },
        "package_format": {
            "type": "string",
            "enum": ["keep", "tar.bz2"],
            "description": "tar.bz2: for targets with conda below 4.7. Default: keep.",
        },
        "add_pip": {"type": "boolean", "description": "pip comes with python. Default: true."},
        "bundles": {
            "type": "object",
            "description": "Folders to pack as noarch packages LABEL-NAME.",
            "propertyNames": {
                "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$",
                "form": "a package name such as 'models'",
            },
            "additionalProperties": _BUNDLE,
        },
        "after_install": {
            "type": ["string", "object"],
            "enum": ["none", "restart", "reboot"],
            "description": (
                "What a target does after installing: none, restart or reboot; or one of these for"
                " `packages` and one for `bundles`, so that an update of bundles alone asks for less."
                " Default: none."
            ),
            "minProperties": 1,
            "sample": "write a word, or {packages: reboot, bundles: restart}",
            "properties": {
                "packages": _after("After an update of packages"),
                "bundles": _after("After an update of bundles alone"),
            },
        },
        "health_check": {
            **_SPECS,
            "is_command": True,
            "description": "A command to run in the installed environment, one argument an item.",
        },
        "signing": _SIGNING,
        "agent": {
            "type": "boolean",
            "description": "repack itself joins the label. Default: false.",
        },
        "installers": {
            "type": "array",
            "items": _INSTALLER,
            "description": "Files that a bare target needs first.",
        },
        "bootstrap": {
            "type": "string",
            "enum": ["none", "repack"],
            "description": (
                "What a Linux target with nothing on it starts from. repack: the environment"
                " itself, packed so that a shell unpacks it anywhere. Default: none."
            ),
        },
        "strict": {"type": "boolean", "description": "Warnings fail the build. Default: false."},
        "licences": _table(
            {
                "deny": {**_SPECS, "description": "SPDX identifiers that fail the build."},
                "unknown": {
                    "type": "string",
                    "enum": ["warn", "deny"],
                    "description": "Packages whose licence is not known. Default: warn.",
                },
            },
            "Which licences of packages are allowed.",
        ),
        "advisories": _ADVISORIES,
        "wheels": {
            "type": ["string", "object"],
            "pattern": "^(take|skip|refuse)$",
            "form": "take, skip, refuse, or a mapping",
            "description": "Wheels of PyPI as conda packages. Default: those that a lock names.",
            "properties": {
                "index": {"type": "string", "description": "A simple index (PEP 503)."},
                "packages": {**_SPECS, "description": "Requirements, or paths of wheels."},
                "names": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "PyPI name -> conda name, where the mapping is wrong.",
                },
                "instead": {
                    "type": "string",
                    "enum": ["conda", "wheel"],
                    "description": "What serves where both could. Default: conda.",
                },
            },
            "additionalProperties": False,
        },
        "license": {
            "type": "string",
            "enum": ["none", "required"],
            "description": "required: the agent asks for a licence of the device. Default: none.",
        },
        "keep_releases": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "description": "How many past releases are kept. Default: 3.",
        },
    },
    "A repack label: one customer's distribution.",
    ("label", "channels", "platforms"),
)


def label_schema() -> Schema:
    """The JSON schema of label files (draft 2020-12), for editors and other programs.

    A key without a value counts as left out, so every optional key may be null.
    """
    schema = copy.deepcopy(SCHEMA)
    _for_editors(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "repack label",
        **schema,
        "oneOf": [{"required": ["packages"]}, {"required": ["from"]}, {"not": _PACKAGED}],
    }


# Neither of both is right too: `--env` takes the packages from a prepared environment.
_PACKAGED: Final = {"anyOf": [{"required": ["packages"]}, {"required": ["from"]}]}


def _for_editors(schema: Schema) -> None:
    for ours in ("form", "others", "sample", "format", "is_command"):
        schema.pop(ours, None)
    if "enum" in schema and "object" in schema["type"]:
        # For repack these are the words that a text may be; for JSON schema they would be all values.
        schema["pattern"] = f"^({'|'.join(schema.pop('enum'))})$"
    required = schema.get("required", [])
    for name, inner in schema.get("properties", {}).items():
        _for_editors(inner)
        if name not in required:
            types = inner["type"] if isinstance(inner["type"], list) else [inner["type"]]
            inner["type"] = [*types, *(["null"] if "null" not in types else [])]
            if "enum" in inner:
                inner["enum"] = [*inner["enum"], None]
    for key in ("items", "additionalProperties", "propertyNames"):
        if isinstance(schema.get(key), dict):
            _for_editors(schema[key])

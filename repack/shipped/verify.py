#!/usr/bin/env python3
"""Check a repack channel: every file's SHA-256, and with a key the signature of the manifest.

    python -I verify.py [CHANNEL | MEDIUM] [--key KEY] [--require-signature] [--tidy] [--json]

Run a copy of your own, not the one on the medium. A MEDIUM is a folder of channels.

KEY is [KEYID=]VALUE with VALUE = env:NAME, file:PATH, hex:..., base64:... or bare base64.
Ends with 0 when all is well, 6 when something is wrong, 2 when it cannot look.

How it holds together: repack/manifest.json is signed with HMAC-SHA384 over itself without the
field "signature", as JSON with sorted keys and no white space. It names repack/integrity.json by
SHA-256, and that names every other file. The public-key metadata in repack/metadata/ is checked
for damage only: `repack verify` checks who signed it. Python 3.6 is enough.

`tar` unpacks a plain delta over a channel and removes nothing, so files of the release before stay.
The delta lists them in .repack-delta-N.json: they are leftovers, no fault. --tidy removes them and
the lists when all else is well; without it nothing is written.
"""

import sys

if __name__ == "__main__":
    # From this Python alone: not argparse.py beside this file, in PYTHONPATH or the current folder
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        del sys.path[:1]
    sys.path[:] = [p for p in sys.path if p.startswith((sys.base_prefix, sys.base_exec_prefix))]

import argparse
import base64
import concurrent.futures
import hashlib
import hmac
import json
import os
import re

MANIFEST, INTEGRITY = "repack/manifest.json", "repack/integrity.json"
SUMS = "repack/metadata/SHA256SUMS"
# What an unsigned list may call left over: what repack writes and nobody starts
DATA = re.compile(
    r"[a-z0-9-]+/[^/\\:]+\.(conda|tar\.bz2|json|json\.(zst|bz2))|repack/explicit-[a-z0-9-]+\.txt"
)
NO_BZ2 = "repodata.json.bz2 is gone, as after a `conda index`: conda 4.3 finds no package here"
DROPS = re.compile(r"\.repack-delta(-[0-9]+)?\.json")
# What the site keeps on its stick by the support runbook: data that no program here looks at.
SITE = re.compile(r"licen[cs]e[^/]*\.json[^/]*|backups/[^/]+/(fingerprint|license_store)\.[^/]+")
# Files that systems and tools drop: neither signed nor bad. As repack.fs.litter.HARMLESS.
LITTER = re.compile(
    r"(?i)(.*/)?(\._[^/]+|\.DS_Store|Thumbs\.db|desktop\.ini|\.repack-[^/]+)"
    r"|[a-z0-9-]+/\.cache/(cache\.db(-[a-z]+)?|[^/]+\.json)"
    r"|System Volume Information/(IndexerVolumeGuid|WPSettings\.dat)"
)
METADATA = re.compile(r"([1-9][0-9]*\.root|timestamp|snapshot|targets|ci|production)\.json")
# Of a medium: what says itself who signed it, and what is read or run by people.
TOP = re.compile(
    r"licence[^/]*\.json|CHECKLIST\.md|verify\.py|sync\.sh|sync\.cmd|\.locks/[^/]+\.lock|notary/[^/]+\.json"
)


class Bad(Exception):
    """Something is wrong with the channel, the signature or the key."""


def unbase64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if base64.b64encode(data).decode() == text else None


def decode(text):
    """The key in [KEYID=]VALUE: hex:..., base64:..., text:..., base64, or behind an id text."""
    text = text.strip()
    # Bare base64 may end in `=` too; but `SERVICE=` is an id with an empty key behind it.
    bare = unbase64(text) is not None and not re.match(r"([A-Z]+|[a-z]+)=\Z", text)
    alone = bare or text.startswith(("hex:", "base64:", "text:")) or "=" not in text
    key_id, value = (None, text) if alone else text.split("=", 1)
    if value.startswith("hex:"):
        return bytes.fromhex(value[4:]) if re.match(r"hex:([0-9A-Fa-f]{2})+\Z", value) else None
    if value.startswith("base64:"):
        return unbase64(value[7:])
    if value.startswith("text:"):
        return value[5:].encode("utf-8")
    named = re.match(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}\Z", key_id or "")
    guessed = named and value.strip("=") and unbase64(value) is None
    return value.encode("utf-8") if guessed else unbase64(value)


def read_key(text):
    pointer = re.match(r"(?:[\w.:@-]+=)??(env|file):(.+)", text.strip())
    if pointer is None:
        key = decode(text)
    elif pointer.group(1) == "env":
        key = decode(os.environ.get(pointer.group(2), ""))
    else:
        data, _ = read("", pointer.group(2))
        form = re.match(rb"(?:[\w.@-]{1,128}=)?(?:hex|base64|text):", data)
        key = data if len(data) in (32, 48) and not form else decode(data.decode("latin-1")) or data
    if not key:
        raise Bad("key: unset, empty, or neither hex: nor base64")
    return key


def at(root, path):
    return os.path.join(root, path.replace("/", os.sep))


def read(root, path):
    try:
        with open(at(root, path), "rb") as stream:
            data = stream.read(256 << 20)  # what is longer is cut, and fails for that
    except OSError as error:
        raise Bad("missing: %s: %s" % (path, error.strerror))
    return data, hashlib.sha256(data).hexdigest()


def parse(data, path):
    def unique(pairs):
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key stands twice")
        return dict(pairs)

    try:  # int("NaN") fails, and NaN is to fail
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=int)
    except (ValueError, RecursionError) as error:
        raise Bad("malformed: %s: %s" % (path, str(error)[:200]))


def check_signature(manifest, key):
    signature = manifest["signature"]
    payload = {name: value for name, value in manifest.items() if name != "signature"}
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    made = base64.b64encode(hmac.new(key, text.encode("utf-8"), hashlib.sha384).digest())
    fits = hmac.compare_digest(made, signature["value"].encode("utf-8"))
    if signature["algorithm"] != "hmac-sha384" or not fits:
        raise Bad("signature: changed manifest, another key, or an algorithm not hmac-sha384")
    return "good, key id %s" % signature.get("key_id")


def is_plain(path):
    """Whether a path of a list stays inside of the channel, on every system."""
    return not (re.search(r"[\\:\0]", path) or {"", ".", ".."} & set(path.split("/")))


def dropped(root, manifest, key):
    """The files that plain deltas unpacked here no longer have; with a key, of signed ones only."""
    paths = set()
    for name in filter(DROPS.fullmatch, os.listdir(root)):
        try:
            delta = parse(read(root, name)[0], name)
            if delta["id"] == manifest["id"]:
                if key:
                    check_signature(delta, key)
                dropped = filter(is_plain, delta["delta"]["dropped"])
                paths.update(path for path in dropped if key or DATA.fullmatch(path))
        except (Bad, KeyError, TypeError, AttributeError):
            continue  # what it lists is reported as extra
    return paths


def tidy(root, paths):
    """Remove leftovers, then the lists that name them; what cannot be removed is said."""
    for path in sorted(paths) + sorted(filter(DROPS.fullmatch, os.listdir(root))):
        try:
            os.remove(at(root, path))
        except OSError as error:
            return "; not removed: %s: %s" % (path, error.strerror)
        folder = os.path.dirname(path)
        while folder and not os.listdir(at(root, folder)):
            os.rmdir(at(root, folder))
            folder = os.path.dirname(folder)
    return "; removed"


def listed(root, manifest, manifest_digest):
    """Path -> SHA-256 of every file that must be there."""
    data, digest = read(root, INTEGRITY)
    if digest != manifest["integrity_manifest"]["sha256"]:
        raise Bad("changed: %s is not the one that the manifest names" % INTEGRITY)
    files = {MANIFEST: manifest_digest, INTEGRITY: digest}
    for row in parse(data, INTEGRITY)["files"]:
        if not is_plain(row["path"]):
            raise Bad("malformed: %s: path %r" % (INTEGRITY, row["path"]))
        files[row["path"]] = row["sha256"]
    for row in manifest["artifacts"]:
        if row["path"] not in files or row.get("sha256") not in (None, files[row["path"]]):
            raise Bad("contradiction: manifest and integrity.json about %s" % row["path"])
    if os.path.exists(at(root, SUMS)):
        data, files[SUMS] = read(root, SUMS)
        files["repack/releases/%s/manifest.json" % manifest["version"]] = manifest_digest
        for line in data.decode("utf-8", "replace").splitlines():
            if METADATA.fullmatch(line[66:]):
                files["repack/metadata/" + line[66:]] = line[:64]
        roots = [path for path in files if path.endswith(".root.json")]
        chain = {"repack/metadata/%d.root.json" % (n + 1) for n in range(len(roots))}
        if set(roots) != chain:
            raise Bad("extra: %s: no link of the chain of roots" % max(set(roots) - chain))
    return files


def is_vouched(root, other, digest, manifest, key):
    """Whether another release is signed for in all the ways that this one is."""
    if key and "signature" in manifest:
        check_signature(other, key)
    if ("signature" in manifest) != ("signature" in other):
        return False
    if not os.path.exists(at(root, SUMS)):
        return True
    path, signed = "releases/%s/manifest.json" % other["version"], []
    for role in ("ci", "production"):
        data, _ = read(root, "repack/metadata/%s.json" % role)
        targets = parse(data, role)["signed"]["targets"]
        signed += [targets[path]["hashes"]["sha256"]] if path in targets else []
    return set(signed) == {digest}


def beside(root, manifest, key):
    """Path -> SHA-256 of what the label's other releases own, on a medium."""
    base, files = at(root, "repack/releases"), {}
    for number in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        own, rows = "repack/releases/%s/" % number, {}
        try:
            data, rows[own + "manifest.json"] = read(root, own + "manifest.json")
            other = parse(data, own)
            if (other["id"], other["version"]) != (manifest["id"], number):
                continue
            if number == manifest["version"]:
                continue
            if not is_vouched(root, other, rows[own + "manifest.json"], manifest, key):
                continue
            data, pin = read(root, own + INTEGRITY)
            if pin != other["integrity_manifest"]["sha256"]:
                continue
            rows[own + INTEGRITY] = pin
            for row in parse(data, own)["files"]:
                if is_plain(row["path"]):
                    kept = os.path.exists(at(root, own + row["path"]))
                    rows[own + row["path"] if kept else row["path"]] = row["sha256"]
        except (Bad, KeyError, TypeError, AttributeError, ValueError):
            continue  # nothing of it is listed: its files are extra
        files.update(rows)
    return files


def walk(root, folder=""):
    """Every path below root with its size; None for what is no plain file."""
    try:
        entries = list(os.scandir(at(root, folder)))
    except PermissionError:
        if folder.lower() != "system volume information/":  # Windows lets nobody in there
            raise
        entries = []
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walk(root, folder + entry.name + "/")
        else:
            plain = entry.is_file(follow_symlinks=False)
            yield folder + entry.name, entry.stat().st_size if plain else None


def hash_file(root, path):
    digest, buffer = hashlib.sha256(), memoryview(bytearray(1 << 20))
    try:
        with open(at(root, path), "rb", buffering=0) as stream:
            for count in iter(lambda: stream.readinto(buffer), 0):
                digest.update(buffer[:count])
    except OSError as error:
        return error.strerror
    return digest.hexdigest()


def check(root, key, require, others=()):
    """Release, state of the signature, files, bytes, problems, leftovers, litter.

    On a medium without links a package that several channels share lies in one of the others.
    """
    data, digest = read(root, MANIFEST)
    manifest = parse(data, MANIFEST)
    try:
        state = "there, not checked for want of a key" if "signature" in manifest else "unsigned"
        if key and "signature" in manifest:
            state = check_signature(manifest, key)
        elif key or require:
            raise Bad("signature: " + state)
        files = listed(root, manifest, digest)
        for path, sha256 in beside(root, manifest, key).items():
            if files.setdefault(path, sha256) != sha256:
                raise Bad("contradiction: two releases about %s" % path)
        title = "%s release %s" % (manifest["id"], manifest["version"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Bad("malformed: %s or %s: %r" % (MANIFEST, INTEGRITY, error))
    there = dict(walk(root))
    litter = {p for p in there if p not in files and LITTER.fullmatch(p) and there[p] is not None}
    there = {path: size for path, size in there.items() if path not in litter}
    plain = sorted((p for p in files if there.get(p) is not None), key=there.get, reverse=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        hashes = dict(zip(plain, pool.map(lambda path: hash_file(root, path), plain)))
    missing = [path for path in files if path not in hashes]
    problems = [
        "missing: " + path
        for path in missing
        if path in there or all(hash_file(other, path) != files[path] for other in others)
    ]
    extra = {path for path in there if path not in hashes}
    left = {path for path in extra & dropped(root, manifest, key) if there[path] is not None}
    left -= set(files)
    problems += ["extra: " + path for path in extra - left]
    problems += ["changed: %s: now %s" % (p, got) for p, got in hashes.items() if got != files[p]]
    size = sum(there[path] for path in plain)
    return title, state, len(plain), size, sorted(problems), sorted(left), sorted(litter)


def loose(root, channels):
    """Problems of what lies beside the channels of a medium: no list, or not what its list says."""
    problems, sums, prefixes = [], {}, tuple(name + "/" for name in channels)
    there = {p: size for p, size in walk(root) if not p.startswith(prefixes)}
    for path in [p for p in there if re.match(r"(installers|notary|oem/[^/]+)/SHA256SUMS\Z", p)]:
        folder = path[: -len("SHA256SUMS")]
        sums[path] = None
        for line in read(root, path)[0].decode("utf-8", "replace").splitlines():
            sums[folder + line[66:]] = line[:64]
    for path, sha256 in sums.items():
        if sha256 and (path not in there or hash_file(root, path) != sha256):
            problems.append("%s: %s" % ("changed" if path in there else "missing", path))
    beside = [p for p in there if p not in sums]
    known = {
        p
        for p in beside
        if there[p] is not None and any(rule.fullmatch(p) for rule in (TOP, LITTER, SITE))
    }
    return problems + ["extra: " + path for path in beside if path not in known]


def check_medium(root, key, require):
    """As check, of all channels and what lies beside them; release and state in lines."""
    names = sorted(n for n in os.listdir(root) if os.path.isfile(at(root, n + "/" + MANIFEST)))
    lines, problems, litter, count, size = [], loose(root, names), [], 0, 0
    for name in names:
        others = [at(root, other) for other in names if other != name]
        try:
            found = check(at(root, name), key, require, others)
        except Bad as error:
            found = (name, "not accepted", 0, 0, [str(error)], [], [])
        lines.append("%s, signature: %s" % found[:2])
        count, size = count + found[2], size + found[3]
        problems += ["%s: %s" % (name, text) for text in found[4]]
        litter += [name + "/" + path for path in found[6]]
    return "; ".join(lines), "as said", count, size, sorted(problems), [], litter


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    top = os.path.dirname(os.path.abspath(__file__))
    here = os.path.dirname(top) if os.path.basename(top) == "repack" else top
    options.add_argument("channel", nargs="?", default=here)
    options.add_argument("--key", help="[KEYID=]VALUE: the shared key of the signature")
    for name in ("--require-signature", "--tidy", "--json"):
        options.add_argument(name, action="store_true")
    given = options.parse_args()
    root = os.path.abspath(given.channel)
    if os.name == "nt" and not root.startswith("\\\\"):
        root = "\\\\?\\" + root  # or paths of more than 260 characters are not found
    try:
        key = None if given.key is None else read_key(given.key)
        inner = os.listdir(root)  # no such folder is another matter than an empty one
        is_medium = any(os.path.isfile(at(root, name + "/" + MANIFEST)) for name in inner)
        is_channel = os.path.exists(at(root, MANIFEST))
        if not (is_medium or is_channel) and given.channel == top:
            options.error("there is no channel in " + top)
        is_medium = is_medium and not is_channel
        result = (check_medium if is_medium else check)(root, key, given.require_signature)
    except Bad as error:
        result = (os.path.basename(root), "not accepted", 0, 0, [str(error)], [], [])
    except OSError as error:
        options.error(str(error))
    names = ("release", "signature", "files", "bytes", "problems", "leftovers", "litter")
    result = dict(zip(names, result))
    result["status"] = "error" if result["problems"] else "ok"
    text = "%(release)s: %(status)s; %(files)d files, %(bytes)d bytes; signature: %(signature)s"
    notes = []
    if result["leftovers"]:
        done = "; --tidy removes them"
        if given.tidy:
            done = "; not removed: first the problems" if result["problems"] else None
        done = done or tidy(root, result["leftovers"])
        notes = ["left over from earlier releases: %d files%s" % (len(result["leftovers"]), done)]
    notes += ["ignored: " + path for path in result["litter"]]
    notes += [NO_BZ2] if any(p.endswith("/repodata.json.bz2") for p in result["problems"]) else []
    result["notes"] = notes
    lines = result["problems"] + notes + [text % result]
    lines = [json.dumps(result)] if given.json else lines
    for line in lines:  # file names may hold what a console cannot show, or obeys
        print("".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in line))
    return 6 if result["problems"] else 0


if __name__ == "__main__":
    raise SystemExit(main())

#!/usr/bin/env python3
"""Check a repack channel: every file's SHA-256, its signatures, and that it says one thing.

    python -I verify.py [CHANNEL | MEDIUM] [--key KEY] [--root ROOT.JSON] [--require-signature]
                        [--tidy] [--any-date] [--json]

Run a copy of your own, not the one on the medium. A MEDIUM is a folder of channels.

KEY is [KEYID=]VALUE with VALUE = env:NAME, file:PATH, hex:..., base64:... or bare base64.
ROOT.JSON is the root that you were sent by another way; without it the channel's own is believed.
Ends with 0 when all is well, 6 when something is wrong, 2 when it cannot look.

How it holds together: repack/manifest.json is signed with HMAC-SHA384 over itself without the
field "signature", as JSON with sorted keys and no white space. It names repack/integrity.json by
SHA-256, and that names every other file. The public-key metadata in repack/metadata/ is TUF's: root
1 leads by signatures to the newest root, that names the keys of all else, and role ci signs the
manifest. Ed25519 and ECDSA are checked here, in Python alone. Python 3.6 is enough.
What `repack verify` checks as well: that no package writes out of its environment.

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
import bz2
import concurrent.futures
import contextlib
import datetime as dt
import hashlib
import hmac
import importlib
import json
import os
import re
import time

MANIFEST, INTEGRITY = "repack/manifest.json", "repack/integrity.json"
SUMS = "repack/metadata/SHA256SUMS"
# What an unsigned list may call left over: what repack writes and nobody starts
DATA = re.compile(
    r"[a-z0-9-]+/[^/\\:]+\.(conda|tar\.bz2|json|json\.(zst|bz2))|repack/explicit-[a-z0-9-]+\.txt"
    r"|bootstrap/[a-z0-9-]+/[^/\\:]+-environment\.tar\.gz"
    r"|repack/releases/[1-9][0-9]*/manifest\.json"
)
NO_BZ2 = "repodata.json.bz2 is gone, as after a `conda index`: conda 4.3 finds no package here"
DROPS = re.compile(r"\.repack-delta(-[0-9]+)?\.json")
# What the site keeps on its stick by the support runbook: data that no program here looks at.
SITE = re.compile(r"licen[cs]e[^/]*\.json[^/]*|backups/[^/]+/(fingerprint|license_store)\.[^/]+")
# Files that systems and tools drop: neither signed nor bad. As repack.fs.litter.HARMLESS.
LITTER = re.compile(
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
METADATA = re.compile(r"([1-9][0-9]*\.root|timestamp|snapshot|targets|ci|production)\.json")
# Of a medium: what says itself who signed it, and what is read or run by people.
TOP = re.compile(
    r"licence[^/]*\.json|index\.html|CHECKLIST\.md|SHA256SUMS|verify\.py|check-sha256\.cmd"
    r"|sync\.sh|sync\.cmd|\.locks/[^/]+\.lock|notary/[^/]+\.json"
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


# --- public keys: Ed25519 (RFC 8032, 5.1) and ECDSA (FIPS 186-5, 6.4.2), for checking only

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
CURVES = {  # scheme: SubjectPublicKeyInfo up to the point, hash, p, b, order, base point
    "ecdsa-sha2-nistp256": (
        "3059301306072a8648ce3d020106082a8648ce3d03010703420004",
        "sha256",
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    ),
    "ecdsa-sha2-nistp384": (
        "3076301006072a8648ce3d020106052b8104002203620004",
        "sha384",
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        int(
            "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe814112"
            "0314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
            16,
        ),
        int(
            "ffffffffffffffffffffffffffffffffffffffffffffffff"
            "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
            16,
        ),
        "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b98"
        "59f741e082542a385502f25dbf55296c3a545e3872760ab7"
        "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147c"
        "e9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
    ),
}


def times(add, zero, point, number):
    """A point of a curve added to itself ``number`` times."""
    total = zero
    while number:
        if number & 1:
            total = add(total, point)
        point, number = add(point, point), number >> 1
    return total


def add_ed(a, b):
    """RFC 8032, 5.1.4: points as (X, Y, Z, T) with x = X/Z, y = Y/Z, x * y = T/Z."""
    minus, plus = (a[1] - a[0]) * (b[1] - b[0]), (a[1] + a[0]) * (b[1] + b[0])
    t, z = 2 * D * a[3] * b[3], 2 * a[2] * b[2]
    e, f, g, h = plus - minus, z - t, z + t, plus + minus
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_ed(data):
    """RFC 8032, 5.1.3: the point that 32 bytes stand for."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * pow(2, (P - 1) // 4, P) % P
    if y >= P or x * x % P != square or (sign and not x):
        raise ValueError("no point of Ed25519")
    x = x if x & 1 == sign else P - x
    return x, y, 1, x * y % P


def fits_ed25519(public, signature, message):
    key = bytes.fromhex(public)
    s = int.from_bytes(signature[32:], "little")
    if len(key) != 32 or len(signature) != 64 or s >= L:
        return False
    a, zero = point_ed(key), (0, 1, 1, 0)
    base = point_ed(bytes([0x58]) + bytes([0x66] * 31))
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    minus = (P - a[0], a[1], 1, P - a[3])
    x, y, z, _ = add_ed(times(add_ed, zero, base, s), times(add_ed, zero, minus, h))
    x, y = x * pow(z, P - 2, P) % P, y * pow(z, P - 2, P) % P
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]


def read_der(signature):
    """Both numbers of an ECDSA signature: SEQUENCE of two INTEGERs, no byte more than needed."""
    numbers, rest = [], signature[2:]
    if signature[:1] != b"\x30" or signature[1] != len(rest) or len(rest) > 127:
        raise ValueError("no signature")
    while rest:
        data = rest[2 : 2 + rest[1]]
        if rest[0] != 2 or len(data) != rest[1] or data[0] > 127:
            raise ValueError("no signature")
        if data[0] == 0 and data[1:2] < b"\x80":
            raise ValueError("no signature")
        numbers.append(int.from_bytes(data, "big"))
        rest = rest[2 + rest[1] :]
    return numbers


def fits_ecdsa(scheme, public, signature, message):
    prefix, name, p, b, order, base = CURVES[scheme]
    size = len(base) // 4

    def add(one, two):  # with a = -3, as both curves have it
        if None in (one, two):
            return one or two
        (x1, y1), (x2, y2) = one, two
        if x1 == x2 and (y1 + y2) % p == 0:
            return None
        up, down = (3 * x1 * x1 - 3, 2 * y1) if one == two else (y2 - y1, x2 - x1)
        slope = up * pow(down, p - 2, p) % p
        x = (slope * slope - x1 - x2) % p
        return x, (slope * (x1 - x) - y1) % p

    def point(data):
        return int.from_bytes(data[:size], "big"), int.from_bytes(data[size:], "big")

    der = unpem(public)
    x, y = point(der[len(prefix) // 2 :])
    r, s = read_der(signature)
    if der[: len(prefix) // 2] != bytes.fromhex(prefix) or len(der) != len(prefix) // 2 + 2 * size:
        return False
    if max(x, y) >= p or (y * y - x**3 + 3 * x - b) % p or not (0 < r < order and 0 < s < order):
        return False
    z, w = int(hashlib.new(name, message).hexdigest(), 16), pow(s, order - 2, order)
    first = times(add, None, point(bytes.fromhex(base)), z * w % order)
    total = add(first, times(add, None, (x, y), r * w % order))
    return total is not None and total[0] % order == r


def unpem(text):
    return base64.b64decode("".join(text.split("-----")[2].split()), validate=True)


def fits(key, signature, message):
    """Whether a key of TUF metadata made ``signature``, in hexadecimal digits."""
    kind, public = (key["keytype"], key["scheme"]), key["keyval"]["public"]
    try:
        if kind == ("ed25519", "ed25519"):
            return fits_ed25519(public, bytes.fromhex(signature), message)
        if kind[0] in ("ecdsa", kind[1]) and kind[1] in CURVES:
            return fits_ecdsa(kind[1], public, bytes.fromhex(signature), message)
    except (ValueError, IndexError):
        pass
    return False


# --- the chain of signed metadata: the client's workflow of TUF's specification, 5.3 to 5.6


def plain_json(value):
    """The form that TUF signs and names keys by: OLPC's canonical JSON."""
    if isinstance(value, dict):
        rows = sorted(value.items())
        return "{%s}" % ",".join(plain_json(k) + ":" + plain_json(v) for k, v in rows)
    if isinstance(value, list):
        return "[%s]" % ",".join(map(plain_json, value))
    if isinstance(value, str):
        return '"%s"' % value.replace("\\", "\\\\").replace('"', '\\"')
    if isinstance(value, float):
        raise ValueError("a number with a fraction")
    return json.dumps(value)


def moment(text):
    return dt.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")


def whole(number):
    if type(number) is not int or number < 1:
        raise ValueError("%r is no version, threshold or release" % (number,))
    return number


def check_keys(keys, roles):
    """Each key is the one that its identifier names, and counts once in a role."""
    for keyid, key in keys.items():
        form = {"keytype": key["keytype"], "scheme": key["scheme"]}
        form["keyval"] = {"public": key["keyval"]["public"]}
        if hashlib.sha256(plain_json(form).encode("utf-8")).hexdigest() != keyid:
            raise Bad("signature: a key is not the one that its identifier names: " + keyid[:80])
    for role in roles:
        used = [keys[keyid] for keyid in role["keyids"] if keyid in keys]
        halves = [(key["keytype"], key["keyval"]["public"]) for key in used]
        forms = {bytes.fromhex(p) if kind == "ed25519" else unpem(p) for kind, p in halves}
        if len(forms) != len(used) or len(set(role["keyids"])) != len(role["keyids"]):
            raise Bad("signature: a role has one key twice")
        whole(role["threshold"])


class Metadata:
    """One file of signed metadata."""

    def __init__(self, root, name, kind):
        self.name = name
        self.data, self.digest = read(root, "repack/metadata/" + name)
        document = parse(self.data, name)
        self.signed, rows = document["signed"], document["signatures"]
        self.signatures = {row["keyid"]: row["sig"] for row in rows}
        self.expires, self.version = moment(self.signed["expires"]), whole(self.signed["version"])
        major = self.signed["spec_version"].split(".")[0]
        if self.signed["_type"] != kind or major != "1" or len(self.signatures) != len(rows):
            raise Bad("malformed: %s: not what stands in such a file" % name)
        if kind == "root":
            roles = self.signed["roles"]
            if set(roles) != {"root", "targets", "snapshot", "timestamp"}:
                raise Bad("malformed: %s: not the roles of a root" % name)
            check_keys(self.signed["keys"], roles.values())

    def check(self, keys, role):
        """Enough of the role's keys signed this."""
        message = plain_json(self.signed).encode("utf-8")
        good = [
            keyid
            for keyid in role["keyids"]
            if keyid in keys and fits(keys[keyid], self.signatures.get(keyid, ""), message)
        ]
        if len(good) < role["threshold"]:
            raise Bad("signature: %s is signed by too few of the right keys" % self.name)

    def pins(self, other):
        """This file names that one, by version and where it says so by length and hash."""
        row = self.signed["meta"][other.name]
        hashes = {n: hashlib.new(n, other.data).hexdigest() for n in row.get("hashes") or {}}
        length = row.get("length", len(other.data))
        if (row["version"], length) != (other.version, len(other.data)):
            raise Bad("signature: %s was not signed together with %s" % (other.name, self.name))
        if hashes != (row.get("hashes") or {}):
            raise Bad("signature: %s was not signed together with %s" % (other.name, self.name))


def chain_of_roots(root, pinned):
    """The newest root, led to by every root from the first on."""
    names = os.listdir(at(root, "repack/metadata"))
    count, chain = len([name for name in names if re.match(r"[0-9]+\.root\.json\Z", name)]), []
    for number in range(1, count + 1):
        chain.append(Metadata(root, "%d.root.json" % number, "root"))
        for judge in chain[-2:]:
            chain[-1].check(judge.signed["keys"], judge.signed["roles"]["root"])
        if chain[-1].version != number:
            raise Bad("signature: %s is of another version" % chain[-1].name)
    if not chain:
        raise Bad("missing: repack/metadata/1.root.json")
    if pinned is not None and pinned not in [link.data for link in chain]:
        raise Bad("signature: the root of --root is none of this channel's")
    if chain[-1].signed.get("x-repack-label") != chain[0].signed.get("x-repack-label"):
        raise Bad("signature: the newest root is another label's")
    return chain[-1]


def load_metadata(root, pinned):
    """Role -> its file, each signed by the keys that the one above names."""
    top = chain_of_roots(root, pinned)
    keys, roles = top.signed["keys"], top.signed["roles"]
    parts = {"root": top}
    for name in ("timestamp", "snapshot", "targets"):
        parts[name] = Metadata(root, name + ".json", name)
        parts[name].check(keys, roles[name])
    below = parts["targets"].signed["delegations"]
    check_keys(below["keys"], below["roles"])
    if [role["name"] for role in below["roles"]] != ["production", "ci"]:
        raise Bad("malformed: targets.json: delegates to others than production and ci")
    for role in below["roles"]:
        if role["paths"] != ["releases/*/manifest.json"] or role["terminating"] is not False:
            raise Bad("malformed: targets.json: delegates other paths")
        parts[role["name"]] = Metadata(root, role["name"] + ".json", "targets")
        parts[role["name"]].check(below["keys"], role)
    parts["timestamp"].pins(parts["snapshot"])
    for name in ("targets", "production", "ci"):
        parts["snapshot"].pins(parts[name])
    return parts


def check_dates(parts):
    """Nothing has expired, and nothing was signed more than 35 days after now."""
    now = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=time.time())
    made = {}
    for name, part in sorted(parts.items()):
        if now >= part.expires:
            raise Bad("expired: %s on %s; is the clock right?" % (part.name, part.expires))
        with contextlib.suppress(KeyError, TypeError, ValueError):
            made[name] = moment(part.signed["x-repack-signed-at"])
    limit = max(now, made.get("targets", now)) + dt.timedelta(35)
    for name, signed_at in sorted(made.items()):
        if signed_at > limit:
            raise Bad("signed in the future: %s on %s; is the clock right?" % (name, signed_at))


def recall_text(targets, release):
    """What to say of a release that the vendor has recalled; nothing of others."""
    recalls = {}
    rows = targets.get("x-repack-recalled", [])
    for row in rows if isinstance(rows, list) else [None]:
        number, why = str(whole(row["release"])), row["why"]
        if number in recalls or not (0 < len(why) <= 300 and why.isprintable()):
            raise Bad("malformed: targets.json: the list of recalled releases")
        recalls[number] = "; RECALLED by the vendor, do not install it: " + why
    return recalls.get(release, "")


def check_metadata(root, manifest, digest, given):
    """Who signed this release by public keys, in words."""
    try:
        parts = load_metadata(root, given.root_data)
        if not given.any_date:
            check_dates(parts)
        label, number, roles = parts["root"].signed["x-repack-label"], manifest["version"], []
        for role in ("ci", "production"):
            for path, row in parts[role].signed["targets"].items():
                custom, sha256 = row["custom"], row["hashes"]["sha256"]
                names = (custom["label"], custom["type"])
                if (
                    names != (label, role)
                    or path != "releases/%d/manifest.json" % custom["release"]
                ):
                    raise Bad("malformed: %s.json: no release of this label: %s" % (role, path))
                if str(whole(custom["release"])) == number:
                    roles.append(role)
                    if sha256 != digest:
                        raise Bad("changed: %s: not what role %s signs for" % (MANIFEST, role))
        if label != manifest["id"]:
            raise Bad("contradiction: the metadata is another label's: %s" % label)
        if "ci" not in roles:
            raise Bad("contradiction: the metadata does not sign for this release")
        recalled = recall_text(parts["targets"].signed, number)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise Bad("malformed: repack/metadata: %r" % error)
    development = parts["root"].signed.get("x-repack-development") is True
    text = "good, for %s%s" % (", ".join(roles), ", with development keys" if development else "")
    return (
        text
        + recalled
        + ("" if given.root_data else "; root not pinned, give the one you were sent as --root")
    )


# --- files


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
    if os.path.isdir(at(root, "repack/metadata")):
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


def contradictions(root, manifest, files):
    """Where the folders of the channel do not say one thing, or not what the list says."""
    platforms = manifest["platform"]
    platforms = [platforms] if isinstance(platforms, str) else platforms
    for subdir in sorted({"noarch", *platforms}):
        path = subdir + "/repodata.json"
        if path not in files:
            yield "missing: " + path
            continue
        try:
            data, _ = read(root, path)
        except Bad:
            continue
        for name, unpack in ((path + ".bz2", bz2.decompress), (path + ".zst", unzstd)):
            try:
                if name not in files:
                    yield "missing: " + name
                elif unpack(read(root, name)[0]) not in (data, None):
                    yield "contradiction: %s differs from repodata.json" % name
            except Bad:
                continue  # not there: the list of files says so, and with it what that means
            except (OSError, ValueError, EOFError) as error:
                yield "malformed: %s: %s" % (name, error)
        for text in misfits(subdir, parse(data, path), files):
            yield text


def misfits(subdir, document, files):
    """Where the records of a folder and its packages differ."""
    if document["info"]["subdir"] != subdir:
        yield "malformed: %s/repodata.json: of another subdir" % subdir
    rows = dict(document.get("packages", {}))
    rows.update(document.get("packages.conda", {}))
    for name, row in sorted(rows.items()):
        if row.get("sha256") is None or files.get(subdir + "/" + name) != row["sha256"]:
            yield "changed: %s/%s: is not what its record says" % (subdir, name)
    for path in files:
        folder, _, name = path.rpartition("/")
        if folder == subdir and name.endswith((".conda", ".tar.bz2")) and name not in rows:
            yield "extra: %s: the repodata has no record of it" % path


def unzstd(data):
    """The content, or None where this Python cannot tell."""
    try:
        zstd = importlib.import_module("compression.zstd")  # Python 3.14
    except ImportError:
        return None
    try:
        return zstd.decompress(data)
    except zstd.ZstdError as error:
        raise ValueError(str(error))


def check(root, key, given, others=()):
    """Release, state of the signature, files, bytes, problems, leftovers, litter, public keys.

    On a medium without links a package that several channels share lies in one of the others.
    """
    data, digest = read(root, MANIFEST)
    manifest = parse(data, MANIFEST)
    try:
        state = "there, not checked for want of a key" if "signature" in manifest else "unsigned"
        if key and "signature" in manifest:
            state = check_signature(manifest, key)
        elif key:
            raise Bad("signature: " + state)
        public = "none"
        if os.path.isdir(at(root, "repack/metadata")):
            public = check_metadata(root, manifest, digest, given)
        elif given.root_data:
            raise Bad("signature: there is no public-key metadata to check")
        if given.require_signature and public == "none" and not (key and "signature" in manifest):
            raise Bad("signature: " + state)
        files = listed(root, manifest, digest)
        contradicted = list(contradictions(root, manifest, files))
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
    wrong = {text.split(": ", 2)[1] for text in problems}
    problems += [text for text in contradicted if text.split(": ", 2)[1] not in wrong]
    size = sum(there[path] for path in plain)
    return title, state, len(plain), size, sorted(problems), sorted(left), sorted(litter), public


def loose(root, channels):
    """Problems of what lies beside the channels of a medium: no list, or not what its list says."""
    problems, sums, prefixes = [], {}, tuple(name + "/" for name in channels)
    there = {p: size for p, size in walk(root) if not p.startswith(prefixes)}
    lists = r"((installers|notary|oem/[^/]+)/)?SHA256SUMS\Z"
    for path in [p for p in there if re.match(lists, p) and there[p] is not None]:
        folder = path[: -len("SHA256SUMS")]
        rows = read(root, path)[0].decode("utf-8", "replace").splitlines()
        if any(not re.match(r"[0-9a-f]{64}  .", line) for line in rows):
            problems.append("malformed: " + path)
        rows = {folder + line[66:]: line[:64] for line in rows if line[66:]}
        for name, sha256 in rows.items():
            if not name.startswith(prefixes) and (
                name not in there or hash_file(root, name) != sha256
            ):
                problems.append("%s: %s" % ("changed" if name in there else "missing", name))
        if folder:  # the one at the top lets nothing lie there
            sums[path] = None
            sums.update(rows)
    beside = [p for p in there if p not in sums]
    known = {
        p
        for p in beside
        if there[p] is not None and any(rule.fullmatch(p) for rule in (TOP, LITTER, SITE))
    }
    return problems + ["extra: " + path for path in beside if path not in known]


def check_medium(root, key, given):
    """As check, of all channels and what lies beside them; release and state in lines."""
    names = sorted(n for n in os.listdir(root) if os.path.isfile(at(root, n + "/" + MANIFEST)))
    lines, problems, litter, count, size = [], loose(root, names), [], 0, 0
    for name in names:
        others = [at(root, other) for other in names if other != name]
        try:
            found = check(at(root, name), key, given, others)
        except Bad as error:
            found = (name, "not accepted", 0, 0, [str(error)], [], [], "bad")
        lines.append("%s, signature: %s, public keys: %s" % (*found[:2], found[7]))
        count, size = count + found[2], size + found[3]
        problems += ["%s: %s" % (name, text) for text in found[4]]
        litter += [name + "/" + path for path in found[6]]
    return "; ".join(lines), "as said", count, size, sorted(problems), [], litter, "as said"


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    top = os.path.dirname(os.path.abspath(__file__))
    here = os.path.dirname(top) if os.path.basename(top) == "repack" else top
    options.add_argument("channel", nargs="?", default=here)
    options.add_argument("--key", help="[KEYID=]VALUE: the shared key of the signature")
    options.add_argument("--root", help="ROOT.JSON: the root that you were sent")
    for name in ("--require-signature", "--tidy", "--any-date", "--json"):
        options.add_argument(name, action="store_true")
    given = options.parse_args()
    root = os.path.abspath(given.channel)
    if os.name == "nt" and not root.startswith("\\\\"):
        root = "\\\\?\\" + root  # or paths of more than 260 characters are not found
    try:
        key = None if given.key is None else read_key(given.key)
        given.root_data = given.root and read("", given.root)[0]
        inner = os.listdir(root)  # no such folder is another matter than an empty one
        is_medium = any(os.path.isfile(at(root, name + "/" + MANIFEST)) for name in inner)
        is_channel = os.path.exists(at(root, MANIFEST))
        if not (is_medium or is_channel) and given.channel == top:
            options.error("there is no channel in " + top)
        is_medium = is_medium and not is_channel
        result = (check_medium if is_medium else check)(root, key, given)
    except Bad as error:
        result = (os.path.basename(root), "not accepted", 0, 0, [str(error)], [], [], "bad")
    except OSError as error:
        options.error(str(error))
    names = (
        "release",
        "signature",
        "files",
        "bytes",
        "problems",
        "leftovers",
        "litter",
        "public_keys",
    )
    result = dict(zip(names, result))
    result["status"] = "error" if result["problems"] else "ok"
    text = "%(release)s: %(status)s; %(files)d files, %(bytes)d bytes; signature: %(signature)s"
    text += "; public keys: %(public_keys)s"
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

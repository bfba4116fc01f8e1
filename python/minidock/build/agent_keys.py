"""Keys of files as an SSH agent has them. Needs the package cryptography: nothing here computes with keys itself."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, NamedTuple

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
except ImportError as error:
    from minidock.errors import Unsupported

    raise Unsupported(
        "key files for --ssh need the package cryptography: pip install 'minidock[ssh]'; or add the key to an agent "
        "(ssh-add), and give its socket"
    ) from error

from minidock.build.agents import FAILURE, IDENTITIES, IDENTITIES_ANSWER, SIGN_RESPONSE
from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

_Private = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_SHA2_256, _SHA2_512 = 2, 4
_CURVES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


class _Key(NamedTuple):
    private: _Private
    kind: bytes
    public: bytes
    comment: bytes


class Keys:
    """The keys of some files; answers any number of connections."""

    def __init__(self, keys: Sequence[_Key]) -> None:
        self._keys = list(keys)

    def answer(self, message: bytes) -> bytes:
        """The answer to a message, both without their lengths."""
        if message[0] == IDENTITIES:
            found = [bytes([IDENTITIES_ANSWER]), struct.pack(">I", len(self._keys))]
            for key in self._keys:
                found += [_text(key.public), _text(key.comment)]
            return b"".join(found)
        try:
            public, rest = _read(message[1:])
            data, rest = _read(rest)
            (flags,) = struct.unpack(">I", rest)
        except (ValueError, struct.error):
            return bytes([FAILURE])
        for key in self._keys:
            if key.public == public:
                return bytes([SIGN_RESPONSE]) + _text(_signature(key, data, flags))
        return bytes([FAILURE])

    def stop(self) -> None:
        """Nothing is waited for."""

    def close(self) -> None:
        """A connection has ended: nothing to do."""


def load(files: Sequence[tuple[str, bytes]]) -> Keys:
    """Read private keys, by their paths: OpenSSH's format or PEM. Raises InvalidArgument, which shows none of them."""
    return Keys([_load(path, data) for path, data in files])


def _load(path: str, data: bytes) -> _Key:
    private = None
    for read in (serialization.load_ssh_private_key, serialization.load_pem_private_key):
        try:
            private = read(data, None)
            break
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
    if private is None:
        raise InvalidArgument(
            f"failed to parse {path}: no private key, or one with a passphrase, which cannot be asked"
        )
    known = isinstance(private, (rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)) or (
        isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES
    )
    if not known:
        raise InvalidArgument(f"failed to parse {path}: a key must be of type rsa, ed25519, or ecdsa of a NIST curve")
    text = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    kind, encoded = text.split()[:2]
    return _Key(private, kind, base64.b64decode(encoded), path.encode("utf-8", "surrogateescape"))  # type: ignore[arg-type]


def _signature(key: _Key, data: bytes, flags: int) -> bytes:
    private, kind = key.private, key.kind
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return _text(kind) + _text(private.sign(data))
    if isinstance(private, ec.EllipticCurvePrivateKey):
        pair = utils.decode_dss_signature(private.sign(data, ec.ECDSA(_CURVES[private.curve.name])))
        return _text(kind) + _text(b"".join(map(_number, pair)))
    digest: hashes.HashAlgorithm
    if flags & _SHA2_512:
        kind, digest = b"rsa-sha2-512", hashes.SHA512()
    elif flags & _SHA2_256:
        kind, digest = b"rsa-sha2-256", hashes.SHA256()
    else:
        digest = hashes.SHA1()  # noqa: S303 - what a client of the first protocol asks for
    return _text(kind) + _text(private.sign(data, padding.PKCS1v15(), digest))


def _text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _number(value: int) -> bytes:
    return _text(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _read(data: bytes) -> tuple[bytes, bytes]:
    """A text, and what comes after it. Raises ValueError."""
    (length,) = struct.unpack(">I", data[:4])
    if length > len(data) - 4:
        raise ValueError("a text ends too early")
    return data[4 : 4 + length], data[4 + length :]

"""AWS's binary event stream: one event as a message with its checksums.

Owns the encoding, all integers big-endian: total length, length of the headers, CRC-32 of these two (the prelude),
headers, payload, CRC-32 of all before. Source: smithy.io, "Amazon Event Stream Specification". Pure.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

_STRING = 7
_PRELUDE = 8
_CHECKSUM = 4


def encode(headers: Mapping[str, str], payload: bytes) -> bytes:
    """A message with text headers."""
    packed = b"".join(_header(name, value) for name, value in headers.items())
    total = _PRELUDE + _CHECKSUM + len(packed) + len(payload) + _CHECKSUM
    prelude = struct.pack(">II", total, len(packed))
    body = prelude + _crc(prelude) + packed + payload
    return body + _crc(body)


def _header(name: str, value: str) -> bytes:
    raw, text = name.encode(), value.encode()
    return struct.pack(">B", len(raw)) + raw + struct.pack(">BH", _STRING, len(text)) + text


def _crc(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))

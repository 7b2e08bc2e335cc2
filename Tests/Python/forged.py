"""The first messages of a TLS 1.2 server, as no TLS library sends them: its certificate has a key that takes minutes."""


def value(tag: int, *parts: bytes) -> bytes:
    contents = b"".join(parts)
    count = len(contents)
    length = bytes([count]) if count < 128 else b"\x82" + count.to_bytes(2)
    return bytes([tag]) + length + contents


def certificate(bits: int) -> bytes:
    """In DER, with an RSA key whose modulus and exponent have so many bits."""
    signature = value(0x30, bytes.fromhex("06092a864886f70d01010b0500"))
    name = value(0x30, value(0x31, value(0x30, bytes.fromhex("06035504030c0178"))))
    validity = value(0x30, value(0x17, b"250101000000Z"), value(0x17, b"450101000000Z"))
    number = value(2, b"\0" + b"\xff" * (bits // 8))
    key = value(0x30, value(0x30, bytes.fromhex("06092a864886f70d0101010500")), value(3, b"\0", value(0x30, number, number)))
    return value(0x30, value(0x30, bytes.fromhex("a003020102020101"), signature, name, validity, name, key), signature,
                 value(3, b"\0", b"\1" * 64))


def record(message: bytes, version: bytes) -> bytes:
    return b"\x16" + version + len(message).to_bytes(2) + message


def message(kind: int, contents: bytes) -> bytes:
    return bytes([kind]) + len(contents).to_bytes(3) + contents


def certificate_flight(bits: int = 16384, version: bytes = b"\3\3") -> bytes:
    """ServerHello with ECDHE-RSA-AES128-GCM-SHA256 (before TLS 1.2: -AES128-SHA) and renegotiation_info, and Certificate."""
    cipher = b"\xc0\x2f" if version == b"\3\3" else b"\xc0\x13"
    hello = version + b"\x5a" * 32 + b"\0" + cipher + b"\0" + b"\0\5\xff\1\0\1\0"
    leaf = certificate(bits)
    entry = len(leaf).to_bytes(3) + leaf
    return record(message(2, hello), version) + record(message(11, len(entry).to_bytes(3) + entry), version)

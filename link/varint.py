"""Unsigned integers of variable length, seven bits a byte, low bits first (LEB128)."""

LIMIT = 1 << 28


def put(value: int) -> bytes:
    """Return *value* (0 to 2**28 - 1) in one to four bytes."""
    if not 0 <= value < LIMIT:
        raise ValueError(f"{value} is outside 0 to {LIMIT - 1}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def get(data: bytes, at: int) -> tuple[int, int]:
    """Return the integer at offset *at* and the offset behind it. Raise ValueError on truncated data."""
    value = 0
    for shift in (0, 7, 14, 21):
        if at >= len(data):
            raise ValueError(f"a varint is cut at byte {at}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a varint of more than four bytes ends at byte {at}")

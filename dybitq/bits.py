"""Bit packing: codes of 1 to 8 bits in one LSB-first, little-endian stream.

Code ``i`` of ``b`` bits occupies the stream bits ``i*b .. i*b + b - 1``, its own least significant bit first,
and stream bit ``j`` is bit ``j % 8`` of byte ``j // 8``. Three-bit codes A to H lie in three bytes as::

    byte 0: C1 C0 B2 B1 B0 A2 A1 A0      (bit 7 on the left)
    byte 1: F0 E2 E1 E0 D2 D1 D0 C2
    byte 2: H2 H1 H0 G2 G1 G0 F2 F1

Eight codes always fill exactly ``b`` bytes, so the stream is built and read eight codes at a time in 64-bit
words.
"""

import numpy as np

GROUP = 8
"""Codes after which the stream is at a byte boundary again, whatever the width."""


def packed_size_bytes(count: int, bits: int, *, whole_groups: bool = False) -> int:
    """Length in bytes of ``count`` packed codes of ``bits`` bits, see :func:`pack`."""
    _check_width(bits)
    if whole_groups:
        count = -(-count // GROUP) * GROUP
    return -(-count * bits // 8)


def pack(codes: np.ndarray, bits: int, *, whole_groups: bool = False) -> bytes:
    """Pack codes into a bit stream.

    Args:
        codes: uint8, any shape, taken in C order; every code below ``2**bits``.
        bits: width of a code, 1 to 8.
        whole_groups: pad with zero codes to a multiple of eight codes; otherwise only the unused bits of the
            last byte are zero.

    Returns:
        ``ceil(codes.size * bits / 8)`` bytes (rounded up to a multiple of ``bits`` with ``whole_groups``).

    Raises:
        ValueError: the array is not uint8, a code needs more than ``bits`` bits, or no such width exists.
    """
    _check_width(bits)
    if codes.dtype != np.uint8:
        raise ValueError(f"codes to pack are {codes.dtype}, expected uint8")
    flat = codes.reshape(-1)
    if flat.size and bits < 8 and int(flat.max()) >> bits:
        raise ValueError(f"code {int(flat.max())} does not fit {bits} bits")
    size = packed_size_bytes(flat.size, bits, whole_groups=whole_groups)
    if bits == 8:
        return flat.tobytes() + bytes(size - flat.size)
    groups = -(-flat.size // GROUP)
    if groups * GROUP != flat.size:
        flat = np.concatenate([flat, np.zeros(groups * GROUP - flat.size, np.uint8)])
    columns = flat.reshape(groups, GROUP).T
    words = np.zeros(groups, "<u8")
    for position, column in enumerate(columns):
        words |= column.astype("<u8") << np.uint64(position * bits)
    return words.view(np.uint8).reshape(groups, 8)[:, :bits].tobytes()[:size]


def unpack(data: bytes | np.ndarray, bits: int, count: int) -> np.ndarray:
    """Read ``count`` codes back from a stream written by :func:`pack`.

    Args:
        data: the stream, as bytes or a uint8 array; bytes behind the last code are ignored.
        bits: width of a code, 1 to 8.
        count: number of codes.

    Returns:
        uint8 ``[count]``.

    Raises:
        ValueError: the stream is too short for ``count`` codes, or the width is out of range.
    """
    size = packed_size_bytes(count, bits)
    stream = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.reshape(-1)
    if stream.size < size:
        raise ValueError(f"{count} codes of {bits} bits need {size} bytes, the stream has {stream.size}")
    if bits == 8:
        return stream[:count].copy()
    groups = -(-count // GROUP)
    used = min(stream.size, groups * bits)
    padded = np.zeros(groups * bits, np.uint8)
    padded[:used] = stream[:used]
    wide = np.zeros((groups, 8), np.uint8)
    wide[:, :bits] = padded.reshape(groups, bits)
    words = wide.view("<u8").reshape(-1)
    codes = np.empty((groups, GROUP), np.uint8)
    mask = np.uint64((1 << bits) - 1)
    for position in range(GROUP):
        codes[:, position] = (words >> np.uint64(position * bits)) & mask
    return codes.reshape(-1)[:count].copy()


def _check_width(bits: int) -> None:
    if not 1 <= bits <= 8:
        raise ValueError(f"codes are 1 to 8 bits wide, not {bits}")

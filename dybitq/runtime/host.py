"""Test of this machine's integer kernels: are products of uint8 and int8 added exactly?

x86 processors without VNNI (and without AVX-VNNI) multiply uint8 by int8 with an instruction that adds
pairs of products in int16 and saturates: 255 * 127 twice is 64770, which becomes 32767. Weights of magnitude
up to 64 are safe.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dybitq.errors import ModelError
from dybitq.runtime.session import Session

_VNNI = frozenset({"avx512_vnni", "avx_vnni", "avx512_vnni_int8", "amx_int8"})
_UINT8, _INT8, _INT32 = 2, 3, 6  # element types of ONNX


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Integer arithmetic of this machine.

    Attributes:
        vnni: True where the processor lists an instruction that adds products exactly; None where the
            operating system does not say.
        exact: True where onnxruntime's product of uint8 and int8 is exact on extreme values.
    """

    vnni: bool | None
    exact: bool


def inspect_host(cpuinfo: Path = Path("/proc/cpuinfo")) -> Host:
    """Read the processor's flags and run a test product.

    Raises:
        ModelError: onnxruntime cannot run a product of integers at all.
    """
    return Host(vnni=has_vnni(cpuinfo), exact=products_are_exact())


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Tell if an x86 processor lists VNNI among its flags; None elsewhere."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return None
    flags = next((line.split(":", 1)[1] for line in text.splitlines() if line.startswith("flags")), None)
    return None if flags is None else bool(_VNNI & set(flags.split()))


def products_are_exact(k: int = 256, columns: int = 32) -> bool:
    """Multiply 255 by 127 and by -128, ``k`` times each, with onnxruntime's ``MatMulInteger``."""
    weight = np.full((k, columns), 127, np.int8)
    weight[:, 1::2] = -128
    session = Session(_product_model(weight), 1, name="the probe of integer products")
    value = np.full((4, k), 255, np.uint8)
    product = session.run({"x": value})["y"]
    expected = value.astype(np.int32) @ weight.astype(np.int32)
    if product.shape != expected.shape:
        raise ModelError(f"the probe of integer products gave the shape {list(product.shape)}")
    return bool(np.array_equal(product, expected))


def _product_model(weight: np.ndarray) -> bytes:
    """Serialise ``y = MatMulInteger(x, weight)`` by hand: the only model that this folder makes.

    Field numbers are those of onnx.proto.
    """
    node = _text(1, "x") + _text(1, "w") + _text(2, "y") + _text(4, "MatMulInteger")
    dims = b"".join(_number(1, extent) for extent in weight.shape)
    tensor = dims + _number(2, _INT8) + _text(8, "w") + _field(9, weight.tobytes())
    graph = (
        _field(1, node)
        + _text(2, "probe")
        + _field(5, tensor)
        + _field(11, _value("x", _UINT8, weight.shape[0]))
        + _field(12, _value("y", _INT32, weight.shape[1]))
    )
    opset = _number(2, 13)
    return _number(1, 7) + _field(7, graph) + _field(8, opset)


def _value(name: str, element: int, columns: int) -> bytes:
    """Serialise a ValueInfoProto of shape ``[N, columns]``."""
    shape = _field(1, _text(2, "N")) + _field(1, _number(1, columns))
    return _text(1, name) + _field(2, _field(1, _number(1, element) + _field(2, shape)))


def _varint(number: int) -> bytes:
    groups = []
    while True:
        number, low = number >> 7, number & 127
        groups.append(low | (128 if number else 0))
        if not number:
            return bytes(groups)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, payload: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(payload)) + payload


def _text(field: int, text: str) -> bytes:
    return _field(field, text.encode())

"""Largest weight integers whose products every kernel of onnxruntime adds exactly.

x86 processors without VNNI multiply uint8 codes by int8 weights with an instruction that adds two
neighbouring products in 16 bits and saturates: 255 * 127 twice is 64770, which becomes 32767. Weights of
magnitude up to 64 cannot reach that, whatever they meet, so that one file gives the same integers on every
processor. The remedy is known as ``reduce_range``; of the formats for int8 kernels only ``int8``, ``odd7``
and ``e2m4`` have larger integers. Depthwise convolutions have a kernel of their own that adds in 32 bits, and
keep the whole range.
"""

from dybitq.encodings import formats
from dybitq.records.formats import NumberFormat
from dybitq.records.geometry.products import EmbeddingTable
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ActivationMode, LayerPlan

LARGEST = 64
"""Largest magnitude of a weight: twice 255 * 64 fits 16 bits."""


def bounds_weights(layer: LayerWork, plan: LayerPlan) -> bool:
    """Return whether the integers of this layer's weights have to stay within ``LARGEST``."""
    table = isinstance(layer.geometry, EmbeddingTable)
    if not plan.reduce_range or plan.activations is ActivationMode.FLOAT or table:
        return False
    return not layer.geometry.is_depthwise


def weight_format(name: str, *, bounded: bool) -> NumberFormat:
    """Return the format called ``name``, where asked for without the codes of integers beyond ``LARGEST``.

    Formats that fit no int8 kernel are decoded to float and keep all their codes.
    """
    found = formats.get(name)
    return formats.within(found, LARGEST) if bounded and found.fits_int8 else found

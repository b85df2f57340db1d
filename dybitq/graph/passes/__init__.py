"""The normal form: a list of passes, each one transformation in one file.

A pass takes the model, changes it in place and returns notes for the user, one sentence each. The
order matters: each file says what it relies on.
"""

from collections.abc import Callable

import onnx_ir as ir

from dybitq.errors import DybitqError
from dybitq.graph.passes.auto_pad import resolve_auto_pad
from dybitq.graph.passes.batch_norm import fold_batch_norm
from dybitq.graph.passes.channel_affine import fold_channel_affine
from dybitq.graph.passes.check_finite import check_finite
from dybitq.graph.passes.constant_folding import fold_constants
from dybitq.graph.passes.constants import lift_constants
from dybitq.graph.passes.float16 import widen_float16
from dybitq.graph.passes.functions import inline_functions
from dybitq.graph.passes.gemm import canonical_gemm
from dybitq.graph.passes.global_pool import global_average_pool
from dybitq.graph.passes.identity import remove_identities
from dybitq.graph.passes.names import unique_names
from dybitq.graph.passes.notes import note_float_parts
from dybitq.graph.passes.opset import upgrade_opset
from dybitq.graph.passes.pad import merge_pads
from dybitq.graph.passes.sums import two_operand_sums
from dybitq.graph.passes.tidy import infer_everything, infer_types, remove_unused, sort_nodes
from dybitq.graph.passes.vectors import flatten_bias_vectors

Pass = Callable[[ir.Model], tuple[str, ...]]

PASSES: tuple[Pass, ...] = (
    sort_nodes,
    inline_functions,
    upgrade_opset,
    unique_names,
    lift_constants,
    infer_types,
    widen_float16,
    remove_identities,
    fold_constants,
    remove_unused,
    check_finite,
    resolve_auto_pad,
    merge_pads,
    canonical_gemm,
    flatten_bias_vectors,
    fold_batch_norm,
    fold_channel_affine,
    global_average_pool,
    two_operand_sums,
    sort_nodes,
    remove_unused,
    infer_everything,
    note_float_parts,
)


def normalise(model: ir.Model, name: str) -> tuple[str, ...]:
    """Run every pass on ``model``, in place, and return their notes in order.

    Raises:
        DybitqError: of a pass, with ``name`` before the message.
    """
    notes: list[str] = []
    for step in PASSES:
        try:
            notes.extend(step(model))
        except DybitqError as error:
            raise type(error)(f"{name}: {error}") from error
    return tuple(notes)

"""Metadata of an emitted file: origin, plan and hashes."""

import json
from collections.abc import Mapping, Sequence

import onnx_ir as ir

import dybitq
from dybitq.graph.stored.checksum import seal
from dybitq.graph.stored.quantized import ORIGIN_KEY, REASON_KEY, RESCALED_KEY
from dybitq.plan.store import plan_document
from dybitq.records.arithmetic import FLOAT_RESCALE
from dybitq.records.plan import Plan


def stamp(
    model: ir.Model,
    plan: Plan,
    *,
    hashes: tuple[str, str],
    rescaled: Sequence[str] = (),
    fitted_on: str = "",
) -> None:
    """Write the plan (as JSON, without reasons) into the metadata, and what it was made from.

    What is integer-only is sealed as well, so that ``dybitq verify`` can tell whether it is still as written.

    Args:
        model: to be written to.
        plan: as it was carried out.
        hashes: of the float32 model, and of the statistics.
        rescaled: names of the tensors whose channels have other factors than in the float network.
        fitted_on: the samples that layers were fitted on, if not on the statistics alone.
    """
    model.producer_name, model.producer_version = "dybitq", dybitq.__version__
    document = plan_document(plan, reasons=False)
    del document["model_sha256"]  # stands beside it
    model.metadata_props["dybitq.plan"] = json.dumps(document, separators=(",", ":"))
    model.metadata_props[ORIGIN_KEY], model.metadata_props["dybitq.statistics_sha256"] = hashes
    if rescaled:
        model.metadata_props[RESCALED_KEY] = "\n".join(rescaled)
    if fitted_on:
        model.metadata_props["dybitq.fitted_on"] = fitted_on
    if plan.arithmetic != FLOAT_RESCALE:
        seal(model)


def reasons(model: ir.Model) -> Mapping[str, tuple[str, ...]]:
    """Why layers came out otherwise than planned: every reason with the names of its layers."""
    found: dict[str, list[str]] = {}
    for node in model.graph:
        if REASON_KEY in node.metadata_props:
            found.setdefault(node.metadata_props[REASON_KEY], []).append(node.name or "")
    return {reason: tuple(names) for reason, names in found.items()}

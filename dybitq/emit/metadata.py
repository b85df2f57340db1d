"""Metadata of an emitted file: origin, plan and hashes."""

import json
from collections.abc import Mapping, Sequence

import onnx_ir as ir

import dybitq
from dybitq.graph import keys
from dybitq.graph.stored.checksum import write_checksum
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

    An integer-only model gets a checksum as well, by which ``dybitq verify`` finds later changes.

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
    model.metadata_props[keys.PLAN] = json.dumps(document, separators=(",", ":"))
    model.metadata_props[keys.ORIGIN], model.metadata_props[keys.STATISTICS] = hashes
    if rescaled:
        model.metadata_props[keys.RESCALED] = "\n".join(rescaled)
    if fitted_on:
        model.metadata_props[keys.FITTED_ON] = fitted_on
    if plan.arithmetic != FLOAT_RESCALE:
        write_checksum(model)


def reasons(model: ir.Model) -> Mapping[str, tuple[str, ...]]:
    """Collect the reasons why layers came out otherwise than planned, each with the names of its layers."""
    found: dict[str, list[str]] = {}
    for node in model.graph:
        if keys.REASON in node.metadata_props:
            found.setdefault(node.metadata_props[keys.REASON], []).append(node.name or "")
    return {reason: tuple(names) for reason, names in found.items()}

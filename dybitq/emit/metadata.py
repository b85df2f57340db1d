"""What an emitted file says about itself: origin, plan and hashes."""

import json

import onnx_ir as ir

import dybitq
from dybitq.plan.store import plan_document
from dybitq.records import Plan


def stamp(model: ir.Model, plan: Plan, *, model_sha256: str, statistics_sha256: str) -> None:
    """Write the plan (as JSON, without reasons) and the hashes of both inputs into the metadata."""
    model.producer_name, model.producer_version = "dybitq", dybitq.__version__
    document = plan_document(plan, reasons=False)
    del document["model_sha256"]  # stands beside it
    model.metadata_props["dybitq.plan"] = json.dumps(document, separators=(",", ":"))
    model.metadata_props["dybitq.model_sha256"] = model_sha256
    model.metadata_props["dybitq.statistics_sha256"] = statistics_sha256

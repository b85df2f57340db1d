"""Names of the metadata that an emitted file carries: its format's constants on one page.

Metadata of a file stands on the model, other metadata on the node that it is about.
"""

PREFIX = "dybitq."
"""Start of every name."""

PLAN = "dybitq.plan"
"""Model: the plan that was carried out, as JSON without reasons."""

ORIGIN = "dybitq.model_sha256"
"""Model: sha256 of the float32 file."""

STATISTICS = "dybitq.statistics_sha256"
"""Model: sha256 of the statistics that the model was fitted on."""

FITTED_ON = "dybitq.fitted_on"
"""Model: the samples that layers were fitted on, if not on the statistics alone."""

RESCALED = "dybitq.rescaled"
"""Model: names of tensors whose channels have other factors than in the float network, one a line."""

CHECKSUM = "dybitq.seal"
"""Model, integer-only: hashes of its parts as they were written, as JSON."""

LAYER = "dybitq.layer"
"""Node: name of the layer that a node without a name of its own belongs to."""

WEIGHTS = "dybitq.weights"
"""Layer: format of its weights."""

ACTIVATIONS = "dybitq.activations"
"""Layer: how its activations reach the multiplier (``static``, ``dynamic``, ``float``)."""

RECODE = "dybitq.recode"
"""Layer: re-coding of its input."""

REASON = "dybitq.reason"
"""Layer: why it came out otherwise than planned."""

TENSOR = "dybitq.tensor"
"""Node: the tensor of the float network that its output stands for."""

STEP = "dybitq.step"
"""Node, integer-only: real value of one step of the codes that it writes."""

COUNT = "dybitq.count"
"""Mean, integer-only: number of values that it averages."""

AXES = "dybitq.axes"
"""Mean, integer-only: axes that it averages over, separated by commas."""

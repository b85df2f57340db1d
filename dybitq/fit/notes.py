"""Notes on a fit for its user: layers with too little data, and requests carried out otherwise."""

from collections.abc import Mapping, Sequence

from dybitq.calibration.store import StoredMoments
from dybitq.encodings import sparq
from dybitq.errors import counted, first_of
from dybitq.fit.weights.rounding import roundings
from dybitq.records.fitted import Fitted
from dybitq.records.layers import LayerWork
from dybitq.records.plan import LayerPlan, Plan
from dybitq.records.statistics import MomentKind, Statistics

_NAMES_SHOWN = 4  # layers named in a note
_MISSING = """fitted to their weights alone and rounded to nearest, without bias correction ({}): the \
statistics hold no second moment of their input"""
_POOR = """rounded to nearest ({}): the statistics hold only the diagonal of their second moment; a larger \
--memory of dybitq calibrate keeps all of it"""
_SCARCE = """fitted to fewer patches than they have inputs ({}), their correlations taken as partly chance: \
more calibration samples would help"""
_CONSTANT = "with an input that was the same in all samples ({}): their outputs are right for that input only"


def fit_notes(
    layers: Mapping[str, LayerWork], plan: Plan, statistics: Statistics, fitted: Fitted
) -> tuple[str, ...]:
    """One sentence for each thing that was done otherwise than the plan may lead one to expect.

    Args:
        layers: survey by name.
        plan: as it was carried out.
        statistics: what was fitted to.
        fitted: what came out.
    """
    todo = [p for p in plan.layers if p.has_coded_weights and p.layer in fitted.weights]
    return (*_about_moments(layers, todo, statistics), *_about_recodings(layers, todo, statistics, fitted))


def _about_moments(
    layers: Mapping[str, LayerWork], todo: Sequence[LayerPlan], statistics: Statistics
) -> list[str]:
    """Second moments that are missing, poor, or of inputs that never changed."""
    missing, poor, scarce, constant = [], [], [], []
    for layer_plan in todo:
        layer = layers[layer_plan.layer]
        if not layer.geometry.has_moments:
            continue
        moment = _light(statistics, layer.moment_key)
        if moment is None:
            missing.append(layer.name)
            continue
        kind, rows = moment
        _, width = layer.geometry.patch_shape
        if roundings.get(layer_plan.rounding).compensates and kind is MomentKind.DIAGONAL and width > 1:
            poor.append(layer.name)
        if rows < width and kind is not MomentKind.DIAGONAL:
            scarce.append(f"{layer.name} {rows} of {width}")
        seen = statistics.tensors.get(layer.input)
        if seen is not None and seen.minimum == seen.maximum:
            constant.append(layer.name)
    found = [
        (missing, _MISSING),
        (poor, _POOR),
        (scarce, _SCARCE),
        (constant, _CONSTANT),
    ]
    return [f"{_layers(names)} {text.format(_shown(names))}" for names, text in found if names]


def _light(statistics: Statistics, key: str) -> tuple[MomentKind, int] | None:
    """Kind and rows of a moment, without reading the arrays of one that lies in a file."""
    moments = statistics.moments
    if key not in moments:
        return None
    if isinstance(moments, StoredMoments):
        return moments.kind(key), moments.rows(key)
    return moments[key].kind, moments[key].rows


def _about_recodings(
    layers: Mapping[str, LayerWork], todo: Sequence[LayerPlan], statistics: Statistics, fitted: Fitted
) -> list[str]:
    """Re-codings of signed activations, and those that found no codes to work on."""
    signed: dict[str, list[str]] = {}
    unread = []
    for layer_plan in todo:
        if not layer_plan.recodes:
            continue
        recoding = fitted.recodings.get(layer_plan.layer)
        if recoding is None:
            unread.append(layer_plan.layer)
        elif recoding.zero_point and sparq.has_windows(layer_plan.recode):
            signed.setdefault(layer_plan.recode, []).append(layer_plan.layer)
    texts = [
        f"{_layers(names)} with {name} on signed activations, which the published method does not have "
        f"({_shown(names)}): windows are taken of the magnitude about the zero point, the sign is kept"
        for name, names in signed.items()
    ]
    if unread:
        texts.append(f"{_layers(unread)} not re-coded, because the input has no codes ({_shown(unread)})")
    return texts


def scarce_pairs_note(scarce: Mapping[str, tuple[int, int]]) -> str:
    """Return the note on layers that were fitted from the statistics because too few pairs were seen.

    Args:
        scarce: by layer name, patches seen in the data and K.
    """
    names = [f"{name} {rows} of {width}" for name, (rows, width) in scarce.items()]
    return (
        f"{_layers(names)} fitted from the statistics, because the data gave too few patches for a layer of "
        f"this width ({_shown(names)}): more samples would help"
    )


def _layers(names: Sequence[str]) -> str:
    return counted(len(names), "layer")


def _shown(names: Sequence[str]) -> str:
    return first_of(names, _NAMES_SHOWN)

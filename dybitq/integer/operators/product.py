"""MatMul of two activations."""

from dataclasses import dataclass

from dybitq.integer.assembly import Assembly
from dybitq.integer.factors import requantize_tied
from dybitq.integer.step import IntegerStep, ProductScale, ScaleTie
from dybitq.records.integer_network import ActivationProduct, Operation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProductStep(IntegerStep):
    """Codes times codes; recognised as a layer, see ``layer.py``."""

    @property
    def tie(self) -> ScaleTie | None:
        """The result's scale is the product of the others."""
        return ProductScale()

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Multiply matrices of centred codes, and rescale the sums."""
        left, right = (assembly.edges[name] for name in self.inputs)
        output = assembly.output_edge(self)
        target, relative = requantize_tied(
            self.name, left.scale * right.scale / output.scale, output, assembly.options
        )
        assembly.relative[self.outputs[0]] = relative
        return [
            ActivationProduct(
                name=self.name,
                inputs=assembly.pair(self),
                output=assembly.codes(self.outputs[0]),
                zeros=(left.zero_point, right.zero_point),
                requantize=target,
            )
        ]

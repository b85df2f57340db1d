"""The closed form with the rounding that the plan asks for, which by default compensates errors.

Compensation (GPTQ, arXiv:2210.17323) hides errors where the inputs are correlated, so layers gain from it by
different amounts; here every layer is really rounded in every format and measured with all of its second
moments. It takes as long as quantizing the network once for each format, and still reads no data.
"""

from dybitq.allocation.sensitivity import SENSITIVITIES, Scores, Subject
from dybitq.allocation.sensitivity.gains import layer_gains
from dybitq.allocation.sensitivity.output_error import relative_errors


@SENSITIVITIES.register("compensated")
def compensated(subject: Subject) -> Scores:
    """Predict the relative error of the network's output, first order, after the rounding of the plan."""
    return relative_errors(subject, layer_gains(subject.space, subject.statistics), compensated=True)

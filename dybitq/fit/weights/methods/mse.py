"""Weight scale: smallest weighted squared error over the wide logarithmic range."""

from dybitq.fit.weights.scales import scale_methods, search_scale

scale_methods.register("mse")(search_scale)

"""The targets that a quantized network can be written for, one file each; see :mod:`dybitq.emit.target`."""

"""One file per family of number formats; each registers its tables with ``encodings.formats``."""

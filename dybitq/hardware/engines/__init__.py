"""Timing models, one file each; a machine names its own in the field ``engine``."""

"""Integer-only arithmetic: a network is recognised as integer steps, fitted, and assembled into records."""

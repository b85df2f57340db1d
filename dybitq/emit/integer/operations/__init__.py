"""Writers of the operations of an integer network, one operation a file, both flavours together."""

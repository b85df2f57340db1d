"""How the operations of an integer network are written into a graph, one a file, both flavours together."""

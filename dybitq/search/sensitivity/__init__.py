"""How much a network suffers from each choice: one measure a file, on arrays."""

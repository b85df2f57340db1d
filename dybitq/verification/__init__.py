"""The proof: integer reference, accumulator bounds, emitted model against float."""

"""Range and scale methods, one a file; each registers itself under the name recipes use."""

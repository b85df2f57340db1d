"""Range methods of activations, one a file; each registers itself under the name recipes use."""

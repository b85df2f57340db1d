"""Scale methods of weights, one a file; each registers itself under the name recipes use."""

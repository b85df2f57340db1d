"""A float network as steps of integer arithmetic."""

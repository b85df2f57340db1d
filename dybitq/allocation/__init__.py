"""Search of mixed-precision plans: formats of all layers under budgets on cost or error."""

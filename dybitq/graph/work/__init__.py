"""Networks as workloads for the simulator."""

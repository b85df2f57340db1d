"""Geometries of weighted layers: how an activation and a weight become a product of matrices."""

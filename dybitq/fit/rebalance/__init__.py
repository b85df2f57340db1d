"""Factors moved between the layers of the float network before it is fitted."""

"""The records that cross floors. All are frozen; arrays in them are never written to."""

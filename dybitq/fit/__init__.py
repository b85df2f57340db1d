"""One edge at a time: table, scale, rounding, bias."""

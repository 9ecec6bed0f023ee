"""Numbers with their doubt: metrics with intervals and tests. Needs numpy and scipy only."""

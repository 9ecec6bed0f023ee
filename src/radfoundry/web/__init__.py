"""Pages drawn from what a run folder holds; no science of their own."""

"""Modules with weights, and the features they make."""

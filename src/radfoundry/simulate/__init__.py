"""Cohorts with known truth: anatomy, physics, disease and words, all from a seed."""

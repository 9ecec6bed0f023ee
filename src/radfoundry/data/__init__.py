"""Volumes and cohorts: reading, storing, splitting, resampling. No torch here."""

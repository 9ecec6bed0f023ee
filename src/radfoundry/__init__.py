"""Radiology foundation models, from a folder of scans to a measured, explained and monitored model.

Research software, not a medical device.
"""

__version__ = "0.1.0"

"""Objectives, comparisons, the training loop, calibration."""

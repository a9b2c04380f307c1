"""Samples from a robot: stream specs, decoders, ring buffers, windows."""

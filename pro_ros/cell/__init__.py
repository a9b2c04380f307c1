"""A simulated suction-picking cell: what it publishes looks like a robot's, and nothing more."""

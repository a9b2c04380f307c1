"""The ``pro-ros`` command."""

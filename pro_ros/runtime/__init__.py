"""The operator at work: stepping and assessing, one sample at a time."""

"""Logged runs: bags and tables in, episodes with outcomes and events out."""

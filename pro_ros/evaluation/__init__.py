"""Metrics, rivals, reports."""

"""Rows in, typed tables and verdicts out."""

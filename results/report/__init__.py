"""Prose and the files that hold it: every sentence is written here."""

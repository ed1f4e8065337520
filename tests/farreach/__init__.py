"""Tests of farreach/."""

"""Tests of frameworks/."""

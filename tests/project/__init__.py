"""Tests of the project as a whole: its layers, documents and workflows."""

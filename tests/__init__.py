"""Tests: contracts for every task and framework, then the rest."""

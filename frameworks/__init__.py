"""Who learns it: one file per framework, the same names in the same order, read side by side."""

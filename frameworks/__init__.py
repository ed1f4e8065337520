"""Who learns it: one folder per framework, in each the same files with the same names, read side by side."""

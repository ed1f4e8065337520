"""What is run: suites, cases, how they are narrowed, and the plug-ins that they name."""

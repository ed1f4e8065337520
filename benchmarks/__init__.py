"""How it is measured: suites expand into cases, workers turn cases into records."""

"""Step times: interleaved, by pytest-benchmark, the A/A test and scaling; numbers only, no prose."""

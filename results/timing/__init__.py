"""Step times: interleaved, the A/A test, side by side, and scaling; numbers only, no prose."""

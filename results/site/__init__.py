"""The page of a result set: one HTML file that works from the disk, and a folder of scripts beside it."""

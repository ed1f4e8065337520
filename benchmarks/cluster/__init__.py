"""Cases and timings on many machines, by an existing Dask cluster."""

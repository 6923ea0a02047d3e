"""How steps run: one after the other or on Dask workers, with which Prefect server and settings."""

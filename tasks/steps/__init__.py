"""The steps of the flow, one Prefect task a file: open references, call the core, store, return a reference."""

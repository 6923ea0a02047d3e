"""All of MLflow: its client and worker process, what a run logs, registered models, their promotion."""

"""What steps stand on: the cache, the artifact store, locks, folders that are whole or not there, helper processes."""

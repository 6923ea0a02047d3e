"""What steps are built on: the cache, the artifact store, locks, atomic folders, helper processes."""

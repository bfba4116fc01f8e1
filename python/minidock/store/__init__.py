"""What is on disk: paths, the SQLite database, locks, work in progress, recovery after a crash."""

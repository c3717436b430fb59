"""What stands in for a database server on a laptop: a data folder with a lock, a PostgreSQL from a wheel."""

"""What survives a restart: one SQLite file and a folder of content-addressed files."""

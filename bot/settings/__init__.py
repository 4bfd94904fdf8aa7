"""The configuration: one TOML file, read and checked, and every mistake in it told in one line."""

"""Removing the background of photos."""

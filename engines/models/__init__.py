"""Models: what there is, where it comes from, and what of it is in memory."""

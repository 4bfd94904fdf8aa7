"""Many pictures under one command: in batches, as one work, into one answer."""

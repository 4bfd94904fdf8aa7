"""ZIP archives from strangers: read without trust, unpacked by streaming, paired by name."""

"""Everything that runs on a device: engines, the pool that steps them, and the menu of what can be asked."""

"""Serving: who steps next, one thread per device, and the pool of them."""

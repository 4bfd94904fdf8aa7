"""Stable Diffusion by steps: strangers' pictures through one UNet call."""

"""Training: DreamBooth for pictures and for inpainting, as a run of steps that can be killed and gone on with."""

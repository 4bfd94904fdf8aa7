"""What a mask covers, taken out of a photo."""

"""What a picture shows, in CLIP's words."""

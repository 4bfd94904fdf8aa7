"""What is said about jobs: the words, the living message, and the outbox that says everything once."""

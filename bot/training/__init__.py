"""Trainings as the chat sees them: from `/train` to a draft, a review, a promise and a report."""

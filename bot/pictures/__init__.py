"""Pictures from strangers and pictures for people: decoded with limits, made smaller, laid on sheets."""

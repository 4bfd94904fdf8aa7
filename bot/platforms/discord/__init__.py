"""Discord, through the real discord.py: `platform` says, `ears` hears, the other files are pure."""

"""The edges: one module per chat platform, each an implementation of `bot.talk.Platform`."""

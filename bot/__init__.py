"""The chat bot: words in, words out. Never imports torch; the engines are started by `bot.app`."""

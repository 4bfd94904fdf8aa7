"""A live look at whether the token works and the application is set up as the bot needs it."""

from __future__ import annotations

import aiohttp
import discord

from bot.platforms.discord.commands import invite
from bot.platforms.discord.errors import translated
from bot.platforms.discord.platform import BAD_TOKEN
from bot.talk import Gone, Unreachable
from engines.words import Words

Found = tuple[bool, Words]


async def live_check(token: str, *, api_base: str = "") -> list[Found]:
    """Each thing looked at: whether it is right, and a sentence with the mend where it is not."""
    if api_base:
        discord.http.Route.BASE = api_base.rstrip("/")
    client = discord.Client(intents=discord.Intents(guilds=True))
    try:
        with translated():
            await client.login(token)
            found = [(True, _BOT(name=client.user, id=client.application_id)), *_application(client)]
            return [*found, *await _servers(client)]
    except discord.LoginFailure:
        return [(False, BAD_TOKEN)]
    except (Unreachable, Gone, discord.DiscordException, aiohttp.ClientError) as error:
        return [(False, _UNREACHED(error=str(error)[:200]))]
    finally:
        await client.close()


def _application(client: discord.Client) -> list[Found]:
    application = client.application
    if application is None or not application.interactions_endpoint_url:
        return []
    return [(False, _ENDPOINT)]


async def _servers(client: discord.Client) -> list[Found]:
    names = [guild.name async for guild in client.fetch_guilds(limit=5)]
    if not names:
        return [(False, _NO_SERVER(invite=invite(client.application_id or 0)))]
    return [(True, _SERVERS(names=", ".join(names)))]


_BOT = Words(
    "Discord: token works, {name} (application {id})", "Discord: 토큰 정상, {name} (애플리케이션 {id})"
)
_SERVERS = Words("Discord: in {names}", "Discord: {names} 서버에 있음")
_NO_SERVER = Words(
    "Discord: the bot is in no server yet; an administrator opens {invite}",
    "Discord: 봇이 아직 어느 서버에도 없습니다. 관리자가 {invite} 주소를 열어 추가해 주십시오",
)
_ENDPOINT = Words(
    "Discord: an “Interactions Endpoint URL” is set, so commands never reach the bot: empty it in the developer "
    "portal (General Information)",
    "Discord: “Interactions Endpoint URL”이 설정되어 있어 명령이 봇에 전달되지 않습니다. 개발자 포털"
    "(General Information)에서 비워 주십시오",
)
_UNREACHED = Words("Discord cannot be reached: {error}", "Discord에 연결할 수 없습니다: {error}")

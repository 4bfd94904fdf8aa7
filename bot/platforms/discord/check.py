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
LOOKED_AT = 5  # servers


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
    """Its intents, none of which needs Discord's leave, and where its interactions go."""
    application = client.application
    if application is None:
        return []
    on = [name for name, flags in _PRIVILEGED if any(getattr(application.flags, flag) for flag in flags)]
    intents = _SPARE_INTENTS(names=", ".join(on)) if on else _INTENTS
    return [(True, intents), *([(False, _ENDPOINT)] if application.interactions_endpoint_url else [])]


async def _servers(client: discord.Client) -> list[Found]:
    """Where it is, and where it was added without the scope that lets it have commands."""
    application = client.application_id or 0
    guilds = [guild async for guild in client.fetch_guilds(limit=LOOKED_AT)]
    if not guilds:
        return [(False, _NO_SERVER(invite=invite(application)))]
    found = [(True, _SERVERS(names=", ".join(guild.name for guild in guilds)))]
    for guild in guilds:
        try:
            await client.http.get_guild_commands(application, guild.id)
        except discord.Forbidden:
            found.append((False, _NO_COMMANDS(server=guild.name, invite=invite(application))))
    return found


_BOT = Words(
    "Discord: token works, {name} (application {id})", "Discord: 토큰 정상, {name} (애플리케이션 {id})"
)
_SERVERS = Words("Discord: in {names}", "Discord: {names} 서버에 있음")
_NO_SERVER = Words(
    "Discord: the bot is in no server yet; an administrator opens {invite}",
    "Discord: 봇이 아직 어느 서버에도 없습니다. 관리자가 {invite} 주소를 열어 추가해 주십시오",
)
_NO_COMMANDS = Words(
    "Discord: the scope applications.commands is missing in {server}, so its people see no commands: an administrator "
    "opens {invite}",
    "Discord: {server} 서버에 applications.commands 권한 범위가 없어 명령이 보이지 않습니다. 관리자가 {invite} 주소를 "
    "열어 다시 추가해 주십시오",
)
_PRIVILEGED = (
    ("Presence", ("gateway_presence", "gateway_presence_limited")),
    ("Server Members", ("gateway_guild_members", "gateway_guild_members_limited")),
    ("Message Content", ("gateway_message_content", "gateway_message_content_limited")),
)
_INTENTS = Words(
    "Discord: no privileged intent is needed, and none is on",
    "Discord: 특권 인텐트는 필요하지 않고, 켜진 것도 없음",
)
_SPARE_INTENTS = Words(
    "Discord: no privileged intent is needed; on without need: {names} (developer portal, Bot)",
    "Discord: 특권 인텐트는 필요하지 않습니다. 필요 없이 켜진 것: {names} (개발자 포털의 Bot 메뉴)",
)
_ENDPOINT = Words(
    "Discord: an “Interactions Endpoint URL” is set, so commands never reach the bot: empty it in the developer "
    "portal (General Information)",
    "Discord: “Interactions Endpoint URL”이 설정되어 있어 명령이 봇에 전달되지 않습니다. 개발자 포털"
    "(General Information)에서 비워 주십시오",
)
_UNREACHED = Words(
    "Discord cannot be reached: {error}. Look at the network, the proxy and api_base",
    "Discord에 연결할 수 없습니다: {error}. 네트워크, 프록시, api_base를 확인해 주십시오",
)

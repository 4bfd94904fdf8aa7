"""The Slack app as Slack wants it described, and a live look at whether tokens and scopes fit it."""

from __future__ import annotations

from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.platforms.slack.api import API, Api, Denied
from bot.platforms.slack.blocks import SLASH
from bot.talk import Gone, Unreachable
from engines.words import Words

SCOPES: dict[str, Words] = {
    "commands": Words("the slash command and the shortcuts", "슬래시 명령과 바로 가기"),
    "chat:write": Words("to answer", "답하기"),
    "files:read": Words("to read the pictures people send", "보내 주신 그림 읽기"),
    "files:write": Words("to send pictures", "그림 보내기"),
    "app_mentions:read": Words("to hear when it is mentioned", "멘션 듣기"),
    "im:history": Words("to hear direct messages", "다이렉트 메시지 듣기"),
    "im:write": Words("to answer by direct message", "다이렉트 메시지로 답하기"),
    "channels:history": Words(
        "to look whether an answer is there before repeating it", "답을 다시 보내기 전 확인하기"
    ),
    "groups:history": Words("the same in private channels", "비공개 채널에서 같은 확인"),
    "mpim:history": Words("the same in group messages", "그룹 메시지에서 같은 확인"),
    "users:read": Words("names and languages of people", "이름과 언어 알기"),
    "usergroups:read": Words("admins given as a user group", "사용자 그룹으로 정한 관리자"),
}
SHORTCUTS = (
    ("ds:inpaint", "Inpaint…", "Put a defect into this picture"),
    ("ds:removebg", "Remove background…", "Cut the object out of this picture"),
    ("ds:interrogate", "Interrogate…", "Find the words that describe this picture"),
    ("ds:use", "Use as input", "Make this the picture to work on"),
    ("ds:recipe", "Show recipe", "Tell how this picture was made"),
)


def manifest() -> dict[str, Any]:
    """For “Create an app from a manifest” on api.slack.com/apps. The app-level token, with the scope
    `connections:write`, is made afterwards on the page “Basic Information”."""
    return {
        "display_information": {
            "name": "Defect Studio",
            "description": "Makes pictures of product defects",
            "background_color": "#1f2937",
        },
        "features": {
            "app_home": {
                "home_tab_enabled": False,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": "Defect Studio", "always_online": True},
            "slash_commands": [
                {
                    "command": SLASH,
                    "description": "Make pictures of defects · 결함 그림 만들기",
                    "usage_hint": "inpaint | txt2img | img2img | help",
                    "should_escape": False,
                }
            ],
            "shortcuts": [
                {"name": name, "type": "message", "callback_id": id, "description": about}
                for id, name, about in SHORTCUTS
            ],
        },
        "oauth_config": {"scopes": {"bot": list(SCOPES)}},
        "settings": {
            "event_subscriptions": {"bot_events": ["app_mention", "message.im"]},
            "interactivity": {"is_enabled": True},
            "org_deploy_enabled": False,
            "socket_mode_enabled": True,
            "token_rotation_enabled": False,
        },
    }


async def live_check(bot_token: str, app_token: str, *, api_base: str = "") -> list[tuple[bool, Words]]:
    """Each thing looked at: whether it is right, and a sentence with the mend where it is not."""
    api = Api(bot_token, api_base or API)
    api.open()
    try:
        return [*await _bot(api.client), await _socket(api, app_token)]
    finally:
        await api.close()


async def _bot(client: AsyncWebClient) -> list[tuple[bool, Words]]:
    try:
        said = await client.auth_test()
    except SlackApiError as no:
        error = no.response.get("error") if hasattr(no.response, "get") else no
        return [(False, _BAD_BOT(error=error))]
    except (aiohttp.ClientError, OSError) as error:
        return [(False, _UNREACHED(error=error))]
    found = [(True, _BOT(name=said.get("user"), team=said.get("team")))]
    granted = said.headers.get("x-oauth-scopes") or said.headers.get("X-OAuth-Scopes")
    if granted is None:
        return found
    missing = [scope for scope in SCOPES if scope not in {s.strip() for s in granted.split(",")}]
    return [*found, *[(False, _SCOPE(scope=scope, why=SCOPES[scope])) for scope in missing]]


async def _socket(api: Api, app_token: str) -> tuple[bool, Words]:
    try:
        await api.call(api.client.apps_connections_open, app_token=app_token)
    except (Denied, Gone, Unreachable) as error:
        return False, _BAD_APP(error=error)
    return True, _APP


_BOT = Words("Slack: bot token works, {name} in {team}", "Slack: 봇 토큰 정상, {team}의 {name}")
_APP = Words("Slack: app token works", "Slack: 앱 토큰 정상")
_BAD_BOT = Words(
    "Slack refuses the bot token ({error}): copy the “Bot User OAuth Token” (xoxb-…) from “OAuth & Permissions”",
    "Slack이 봇 토큰을 거부합니다({error}): “OAuth & Permissions”의 “Bot User OAuth Token”(xoxb-…)을 복사하십시오",
)
_BAD_APP = Words(
    "Slack refuses the app token ({error}): make one with connections:write (xapp-…) under “Basic Information”",
    "Slack이 앱 토큰을 거부합니다({error}): “Basic Information”에서 connections:write 권한으로 새로 만드십시오(xapp-…)",
)
_UNREACHED = Words(
    "Slack cannot be reached: {error}. Look at the network, the proxy and api_base",
    "Slack에 연결할 수 없습니다: {error}. 네트워크, 프록시, api_base를 확인해 주십시오",
)
_SCOPE = Words(
    "Slack: the scope {scope} is missing ({why}): add it under “OAuth & Permissions” and install the app again",
    "Slack: {scope} 권한이 없습니다({why}): “OAuth & Permissions”에서 추가하고 앱을 다시 설치하십시오",
)

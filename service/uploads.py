"""How long a body may take to come."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from infra.settings_sections import ServeSettings
from service.errors import Refusal

Read = TypeVar("Read")


async def uploaded(reading: Awaitable[Read], serve: ServeSettings) -> Read:
    """
    What a body holds, unless it takes too long to come: a caller that trickles must not hold memory for ever.

    Raises:
        Refusal: 408, it had not come after `serve.upload_s`.
    """
    try:
        async with asyncio.timeout(serve.upload_s):
            return await reading
    except TimeoutError as error:
        words = f"the body had not come after {serve.upload_s:g} s (serve.upload_s); send it again over a faster line"
        raise Refusal(408, "upload_too_slow", words) from error

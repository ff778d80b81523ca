"""`registry serve` whose tokens end after four seconds, and whose uploads take longer than that.

Clients take no lifetime below a minute (distribution, "Token Authentication"): so the answer says that the
token was given most of a minute ago.
"""

import asyncio
from datetime import datetime, tzinfo
from typing import Any

import registry.api.token
import registry.auth.tokens
import registry.uploads
from registry.__main__ import main
from registry.uploads import Uploads

LIFETIME = 4
SECONDS = 5.0
LAYER = 2000  # bytes from which an upload takes so long: configurations are smaller
_MINUTE = 60

appended = Uploads.append


async def append(self: Uploads, *arguments: Any, **named: Any) -> int:
    offset = await appended(self, *arguments, **named)
    if offset >= LAYER:
        await asyncio.sleep(SECONDS)
    return offset


class Earlier(datetime):
    @classmethod
    def fromtimestamp(cls, timestamp: float, tz: tzinfo | None = None) -> "Earlier":
        return super().fromtimestamp(timestamp + LIFETIME - _MINUTE, tz)


if __name__ == "__main__":
    vars(registry.api.token).update(LIFETIME=LIFETIME, datetime=Earlier)
    vars(registry.auth.tokens).update(_LEEWAY=0)
    vars(registry.uploads)["Uploads"].append = append
    main()

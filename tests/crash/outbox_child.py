"""A gateway's outbox in a process of its own, to be killed: ``outbox_child.py FOLDER URL [put] [send]``."""

import asyncio
import sys
from pathlib import Path

from tidegate.clock import SystemClock
from tidegate.config import Config, Egress, Webhook
from tidegate.engine import engine


async def main(folder: str, url: str, *steps: str) -> None:
    """Put something into the outbox, or send what is there, for ever."""
    config = Config(
        egress=Egress(allow=("127.0.0.1",)),
        webhooks={"pager": Webhook(url=url, secret_env=("SECRET",))},
    )
    async with engine(config, Path(folder), SystemClock()) as inside:
        if "put" in steps:
            name = await inside.store.outbox.put("pager", "test.said", {"at": 1})
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()
        if "send" in steps:
            await inside.postman.serve()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

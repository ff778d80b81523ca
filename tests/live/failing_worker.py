"""`registry serve` whose workers cannot open their store, though their supervisor could."""

import registry.server.serve
from registry.__main__ import main
from registry.settings import Settings
from storage.errors import StoreUnusable


def refuse(_: Settings, **__: object) -> None:
    raise StoreUnusable("a test says so")


if __name__ == "__mp_main__":  # how a spawned worker imports its parent's main module
    vars(registry.server.serve)["create_app"] = refuse
if __name__ == "__main__":
    main()

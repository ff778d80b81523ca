"""What a switch may do; each of them does one of these, or two."""

from registry.testing.exchange import Ask, Head, Reply


class Switch:
    """One way in which a registry differs. What is not overridden changes nothing."""

    async def refuse(self, ask: Ask) -> Reply | None:
        """An answer instead of the registry's."""
        return None

    def amend(self, ask: Ask) -> None:
        """Change what the registry is asked."""

    def alter(self, ask: Ask, head: Head) -> Reply | None:
        """Change the head of what it answers, or give another answer."""
        return None

"""For the tests of whoever talks to registries: other behaviour, and failure when it is asked for."""

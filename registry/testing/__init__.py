"""For the tests of whoever talks to registries: a registry of their own, and other behaviour on demand.

What a test has in hands is in the package `oci_registry_testing`, which works where a project has a package
`registry` or `storage` of its own, too.
"""

from oci_registry_testing import *  # noqa: F403 (all that it offers, and nothing else)

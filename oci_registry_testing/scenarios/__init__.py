"""Which failures a client survives: a command of anyone's, driven through profiles and faults.

`python -m registry.testing.scenarios --help` says how; docs/testing.md has more.
"""

from oci_registry_testing.scenarios.client import Client as Client
from oci_registry_testing.scenarios.client import ClientInvalid as ClientInvalid
from oci_registry_testing.scenarios.client import load as load
from oci_registry_testing.scenarios.client import make as make
from oci_registry_testing.scenarios.client import names as names
from oci_registry_testing.scenarios.client import parse as parse
from oci_registry_testing.scenarios.running import Outcome as Outcome
from oci_registry_testing.scenarios.running import run_all as run_all
from oci_registry_testing.scenarios.running import run_one as run_one
from oci_registry_testing.scenarios.scenario import Scenario as Scenario
from oci_registry_testing.scenarios.table import SCENARIOS as SCENARIOS
from oci_registry_testing.scenarios.verdict import Verdict as Verdict

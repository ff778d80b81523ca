"""Client certificates: `cert:NAME` for who shows one that an authority of `tls_client_ca` has signed."""

from registry.access import Actor, Shown


class Certificates:
    """Only where no Authorization is shown: a robot on a machine that has a certificate is the robot."""

    async def identify(self, shown: Shown) -> Actor | None:
        if shown.authorization or not shown.certificate:
            return None
        return Actor(f"cert:{shown.certificate}")

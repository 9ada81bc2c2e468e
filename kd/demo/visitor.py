"""Who a visitor is, where work is shared out: the address of the connection, and nothing that a request says of itself.

Behind a proxy every connection is the proxy's. Only from proxies that the host names is the header X-Forwarded-For
believed: uvicorn, the server below Gradio, then puts the right-most address there that is none of theirs in the place
of the connection's. It reads their addresses and networks, with commas between them, from `PROXIES`.
"""

import ipaddress
import os
from functools import lru_cache

from gradio.context import LocalContext

PROXIES = "FORWARDED_ALLOW_IPS"  # uvicorn's own environment variable
# A Space can be reached through the Hub's proxy alone, which comes from a private network (RFC 1918; 10.16.3.80 in
# github.com/embeddings-benchmark/mteb/pull/4754). Elsewhere a private address may be anybody's, and uvicorn's own
# default, this machine, is also where tunnels come from.
PROXIES_OF_A_SPACE = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"
IPV6_VISITOR = 64  # bits of an address that are a household's; it chooses the other 64 as it likes (RFC 4291, 6177)


def name_proxies() -> None:
    """Set which proxies are believed, where the host has not."""
    os.environ.setdefault(PROXIES, PROXIES_OF_A_SPACE if os.environ.get("SPACE_ID") else "")


@lru_cache(maxsize=4096)
def address_of(client: tuple | None) -> str:
    """Whose a connection is: its IPv4 address, or its IPv6 network.

    Args:
        client: host and port, as in the scope of ASGI, or None; with a host that is no address, all count as one.
    """
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except (TypeError, ValueError):
        return "unknown"
    if address.version == 6 and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, IPV6_VISITOR), strict=False))


def asking() -> tuple[str, str]:
    """Address and session of the event that this thread serves; both empty outside of events.

    Gradio hands its request to functions that name it as a parameter; here the photo's readers would pass it on through
    six files, so this reads where Gradio 6.31 keeps it. A test asks the real page and fails where it is kept elsewhere.
    """
    request = LocalContext.request.get(None)
    if request is None:
        return "", ""
    scope = request.request.scope if request.request else {}
    return address_of(scope.get("client")), str(request.session_hash)

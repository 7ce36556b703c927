"""Machines of AWS that make sense for a search: what they have, and what they cost.

A list of known ones, not of all. Prices are list prices in US dollars an hour: on demand, Linux, Oregon, noted by hand in
July 2025 and not asked for since. A cluster file may name others under ``metadata.instance_types``.
"""

from __future__ import annotations

from dataclasses import dataclass

_PRICED_REGION = "us-west-2"
"""Oregon."""
_PRICES_NOTED = "July 2025"


def list_prices(region: str) -> str:
    """Which prices ours are, to those who have machines in a region."""
    there = "" if region == _PRICED_REGION else f", not those of {region}"
    return f"list prices on demand of {_PRICED_REGION}{there}, {_PRICES_NOTED}"


@dataclass(frozen=True)
class InstanceType:
    """CPUs (virtual ones), GPUs, and US dollars an hour."""

    cpus: int
    gpus: int
    usd_per_hour: float


def _of(family: str, gpus: dict[str, int], rows: dict[str, tuple[int, float]]) -> dict[str, InstanceType]:
    return {
        f"{family}.{size}": InstanceType(cpus, gpus.get(size, gpus[""]), usd)
        for size, (cpus, usd) in rows.items()
    }


_NONE, _ONE, _EIGHT = {"": 0}, {"": 1}, {"": 8}
_SEVERAL = {"": 1, "12xlarge": 4, "24xlarge": 4, "48xlarge": 8}

INSTANCE_TYPES: dict[str, InstanceType] = {
    **_of("t3", _NONE, {"large": (2, 0.0832), "xlarge": (4, 0.1664), "2xlarge": (8, 0.3328)}),
    **_of("m6i", _NONE, {"large": (2, 0.096), "xlarge": (4, 0.192), "2xlarge": (8, 0.384)}),
    **_of("m7i", _NONE, {"large": (2, 0.1008), "xlarge": (4, 0.2016), "2xlarge": (8, 0.4032)}),
    **_of("m7i", _NONE, {"4xlarge": (16, 0.8064), "8xlarge": (32, 1.6128)}),
    **_of("c7i", _NONE, {"large": (2, 0.08925), "xlarge": (4, 0.1785), "2xlarge": (8, 0.357)}),
    **_of("c7i", _NONE, {"4xlarge": (16, 0.714), "8xlarge": (32, 1.428)}),
    **_of("r7i", _NONE, {"large": (2, 0.1323), "xlarge": (4, 0.2646), "2xlarge": (8, 0.5292)}),
    **_of("g4dn", _ONE, {"xlarge": (4, 0.526), "2xlarge": (8, 0.752), "4xlarge": (16, 1.204)}),  # T4, 16 GB
    **_of("g4dn", _SEVERAL, {"8xlarge": (32, 2.176), "12xlarge": (48, 3.912), "16xlarge": (64, 4.352)}),
    **_of("g5", _ONE, {"xlarge": (4, 1.006), "2xlarge": (8, 1.212), "4xlarge": (16, 1.624)}),  # A10G, 24 GB
    **_of("g5", _SEVERAL, {"8xlarge": (32, 2.448), "12xlarge": (48, 5.672), "16xlarge": (64, 4.096)}),
    **_of("g5", _SEVERAL, {"24xlarge": (96, 8.144), "48xlarge": (192, 16.288)}),
    **_of("g6", _ONE, {"xlarge": (4, 0.8048), "2xlarge": (8, 0.9776), "4xlarge": (16, 1.3232)}),  # L4, 24 GB
    **_of("g6", _SEVERAL, {"8xlarge": (32, 2.0144), "12xlarge": (48, 4.6016), "16xlarge": (64, 3.3968)}),
    **_of("g6", _SEVERAL, {"24xlarge": (96, 6.6752), "48xlarge": (192, 13.3504)}),
    **_of(
        "g6e", _ONE, {"xlarge": (4, 1.861), "2xlarge": (8, 2.2421), "4xlarge": (16, 3.0042)}
    ),  # L40S, 48 GB
    **_of("g6e", _SEVERAL, {"8xlarge": (32, 4.5286), "12xlarge": (48, 10.4926), "24xlarge": (96, 15.0656)}),
    **_of("g6e", _SEVERAL, {"48xlarge": (192, 30.1312)}),
    **_of("p4d", _EIGHT, {"24xlarge": (96, 21.9576)}),  # A100, 40 GB
    **_of("p5", _ONE, {"4xlarge": (16, 6.88)}),  # H100, 80 GB
    **_of("p5", _EIGHT, {"48xlarge": (192, 55.04)}),
}

"""What AWS takes to start a machine, by the model of its interface that botocore brings; AWS is not asked.

A request that does not fit ends in an error that Ray logs on the head and tries again, for ever.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from minbert.errors import did_you_mean
from minbert.files.yaml_dialect import join, shorten
from trainables.machines.cluster_file import Finding

KEYS = (
    "AdditionalInfo", "BlockDeviceMappings", "CapacityReservationSpecification", "ClientToken", "CpuOptions",
    "CreditSpecification", "DisableApiStop", "DisableApiTermination", "DryRun", "EbsOptimized",
    "ElasticGpuSpecification", "ElasticInferenceAccelerators", "EnablePrimaryIpv6", "EnclaveOptions",
    "HibernationOptions", "IamInstanceProfile", "ImageId", "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions", "InstanceType", "Ipv6AddressCount", "Ipv6Addresses", "KernelId", "KeyName",
    "LaunchTemplate", "LicenseSpecifications", "MaintenanceOptions", "MaxCount", "MetadataOptions", "MinCount",
    "Monitoring", "NetworkInterfaces", "NetworkPerformanceOptions", "Operator", "Placement",
    "PrivateDnsNameOptions", "PrivateIpAddress", "RamdiskId", "SecondaryInterfaces", "SecurityGroupIds",
    "SecurityGroups", "SubnetId", "TagSpecifications", "UserData",
)  # fmt: skip
"""What stands for the model where botocore is not installed: the keys alone."""
_RAYS_OWN = {"SubnetIds"}
_OVERWRITTEN = {
    "SubnetId": "Ray overwrites it: SubnetIds, a list, is what it reads",
    "MinCount": "Ray overwrites it: min_workers of the node type is what it reads",
    "MaxCount": "Ray overwrites it: max_workers of the node type is what it reads",
    "DryRun": "is not allowed: no machine would come",
}
_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "structure": (dict, "a mapping"),
    "map": (dict, "a mapping"),
    "list": (list, "a list"),
    "string": (str, "a text"),
    "timestamp": (str, "a text"),
    "blob": (str, "a text"),
    "integer": (int, "a whole number"),
    "long": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "double": ((int, float), "a number"),
    "boolean": (bool, "true or false"),
}
_OPEN = frozenset({"InstanceType"})
"""Lists of values that grow faster than botocore is updated."""
_FEW = 8
"""So many known keys are listed."""


def misfits(config: Mapping[str, Any], path: str) -> Iterator[Finding]:
    """What Ray or botocore would refuse in a ``node_config``.

    Args:
        config: of a node type.
        path: where it stands in the file.
    """
    for key in _OVERWRITTEN.keys() & config.keys():
        yield Finding(join(path, key), _OVERWRITTEN[key])
    subnets = config.get("SubnetIds", [""])
    if not isinstance(subnets, list) or not subnets or not all(isinstance(each, str) for each in subnets):
        text = f"{shorten(subnets)} is not allowed: a list is, such as [subnet-0123456789abcdef0]"
        yield Finding(f"{path}.SubnetIds", text)
    rest = {key: value for key, value in config.items() if key not in _RAYS_OWN | _OVERWRITTEN.keys()}
    shape = request()
    if shape is None:
        yield from _unknown(rest, KEYS, path)
    else:
        yield from _misfits(shape, rest, path)


@cache
def request() -> Any:
    """The model of the request; None where botocore is not installed."""
    try:
        loaders, model = (importlib.import_module(f"botocore.{name}") for name in ("loaders", "model"))
    except ImportError:
        return None
    service = model.ServiceModel(loaders.Loader().load_service_model("ec2", "service-2"))
    return service.operation_model("RunInstances").input_shape


def _misfits(shape: Any, value: object, path: str) -> Iterator[Finding]:
    kind, must = _TYPES[shape.type_name]
    is_switch = isinstance(value, bool) and kind is not bool  # which is a number to Python
    if not isinstance(value, kind) or is_switch:
        yield Finding(path, f"{shorten(value)} is not allowed: it must be {must}")
    elif shape.type_name == "structure" and isinstance(value, dict):
        yield from _unknown(value, tuple(shape.members), path)
        for key in value.keys() & shape.members.keys():
            yield from _misfits(shape.members[key], value[key], join(path, key))
        for key in set(shape.metadata.get("required", ())) - value.keys() - _OVERWRITTEN.keys():
            yield Finding(join(path, key), "is missing")
    elif shape.type_name == "list" and isinstance(value, list):
        for at, each in enumerate(value):
            yield from _misfits(shape.member, each, join(path, str(at)))
    elif shape.type_name == "string" and shape.enum and shape.name not in _OPEN and value not in shape.enum:
        allowed = f": it may be {', '.join(shape.enum)}" if len(shape.enum) <= _FEW else ""
        yield Finding(path, f"{shorten(value)} is not allowed{allowed}{did_you_mean(value, shape.enum)}")


def _unknown(given: Mapping[str, Any], known: tuple[str, ...], path: str) -> Iterator[Finding]:
    for key in sorted(given.keys() - set(known)):
        listed = f"; it knows {', '.join(known)}" if len(known) <= _FEW else ""
        yield Finding(join(path, key), f"AWS knows no such key here{did_you_mean(key, known)}{listed}")

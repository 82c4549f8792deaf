"""What a cluster file asks of AWS for one machine, checked against the request that boto3 would make of it.

Ray hands `node_config` on as it is, and AWS refuses it only when the first machine is to start.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from orchestrator.config.yaml_source import Keys
from orchestrator.errors import shown
from trainables.errors import did_you_mean

__all__ = ["node_config_problems"]

_OF_RAY: Final = {"SubnetIds": "list"}
"""Keys that Ray itself reads and takes out."""

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
}


def node_config_problems(config: Mapping[str, Any], keys: Keys) -> Iterator[tuple[Keys, str, str, str]]:
    """Keys, rule, value and hint of everything that EC2's `RunInstances` does not take; nothing without boto3.

    Args:
        keys: where `config` is in its file.
    """
    if importlib.util.find_spec("botocore") is None:
        return
    own = {key: value for key, value in config.items() if key not in _OF_RAY}
    yield from _broken(own, _request(), keys)
    if "InstanceType" not in config:
        yield keys, "must say which machine to start", "", "e.g. InstanceType: g5.xlarge"


@cache
def _request() -> Any:
    """What `RunInstances` takes."""
    import botocore.session

    return botocore.session.Session().get_service_model("ec2").operation_model("RunInstances").input_shape


def _broken(value: Any, shape: Any, keys: Keys) -> Iterator[tuple[Keys, str, str, str]]:
    kinds = _TYPES.get(shape.type_name)
    if kinds is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
        yield keys, f"must be a {shape.type_name}", shown(value), ""
    elif shape.type_name == "structure":
        for key, inner in value.items():
            if key in shape.members:
                yield from _broken(inner, shape.members[key], (*keys, key))
            else:
                hint = did_you_mean(key, list(shape.members)).removeprefix("; ")
                yield (*keys, key), "is no key that EC2 knows", "", hint
    elif shape.type_name == "list":
        for index, inner in enumerate(value):
            yield from _broken(inner, shape.member, (*keys, index))
    elif getattr(shape, "enum", None) and value not in shape.enum and shape.name != "InstanceType":
        yield keys, f"must be one of {', '.join(shape.enum)}", shown(value), ""
    elif shape.name == "InstanceType" and value not in shape.enum:
        yield keys, "is no machine that EC2 has", shown(value), did_you_mean(value, shape.enum).removeprefix("; ")

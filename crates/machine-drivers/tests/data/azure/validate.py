"""Checks requests to Azure's Resource Manager against the models of Microsoft's own SDK.

Reads exchanges as JSON lines ({"method", "path", "query", "body", "status"}) from standard input; prints a line for each
thing that is not as the models have it, and ends with 1 where there was one. What is no request to the Resource Manager
is passed over.
"""

import enum
import importlib
import json
import sys
import types as python_types
import typing

import typing_extensions

# What is put where: the type in the path, the package, the class.
MODELS = {
    "microsoft.compute/virtualmachines": ("compute", "VirtualMachine"),
    "microsoft.compute/availabilitysets": ("compute", "AvailabilitySet"),
    "microsoft.compute/disks": ("compute", "Disk"),
    "microsoft.network/networkinterfaces": ("network", "NetworkInterface"),
    "microsoft.network/publicipaddresses": ("network", "PublicIPAddress"),
    "microsoft.network/networksecuritygroups": ("network", "NetworkSecurityGroup"),
    "microsoft.network/networksecuritygroups/securityrules": ("network", "SecurityRule"),
    "microsoft.network/virtualnetworks": ("network", "VirtualNetwork"),
    "microsoft.network/virtualnetworks/subnets": ("network", "Subnet"),
    "": ("resource.resources", "ResourceGroup"),
}


# The SDK's lists of these are old, and it says so itself: any value may stand there.
OPEN = {"vmSize"}


class Package:
    """A package's models: the wire's names and types (types.py), what may only be read (models)."""

    def __init__(self, name):
        self.models = importlib.import_module(f"azure.mgmt.{name}.models")
        try:
            self.types = importlib.import_module(f"azure.mgmt.{name}.types")
        except ImportError:
            self.types = None
        self.names = {**vars(typing), **vars(self.types or self.models), "_models": self.models}
        for key, value in vars(self.models).items():
            self.names.setdefault(key, value)
            if isinstance(value, type) and issubclass(value, enum.Enum):
                self.names[key] = value

    def resolve(self, of):
        if isinstance(of, str):
            return eval(of, self.names)
        if isinstance(of, typing.ForwardRef):
            return eval(of.__forward_arg__, self.names)
        return of

    def fields(self, of):
        """Wire name to (type, required) of a class of types.py."""
        found = {}
        for base in reversed(getattr(of, "__orig_bases__", ()) or ()):
            base = self.resolve(base)
            if isinstance(base, type) and base is not dict and hasattr(base, "__annotations__"):
                found.update(self.fields(base))
        for key, annotation in of.__annotations__.items():
            annotation = self.resolve(annotation)
            required = typing.get_origin(annotation) is typing_extensions.Required
            if required or typing.get_origin(annotation) is typing_extensions.NotRequired:
                annotation = self.resolve(typing.get_args(annotation)[0])
            found[key] = (annotation, required)
        return found

    def read_only(self, name):
        """The wire names of what only Azure sets."""
        model = getattr(self.models, name, None)
        if model is None:
            return set()
        try:
            model({})
        except Exception:
            return set()
        fields = getattr(model, "_attr_to_rest_field", {})
        return {field._rest_name for field in fields.values() if field._visibility == ["read"]}


def check(package, of, value, at, errors):
    of = package.resolve(of)
    origin, args = typing.get_origin(of), typing.get_args(of)
    if of is typing.Any:
        return
    if origin in (typing.Union, python_types.UnionType):
        enums = [a for a in map(package.resolve, args) if isinstance(a, type) and issubclass(a, enum.Enum)]
        if enums and isinstance(value, str):
            known = {member.value.lower() for one in enums for member in one}
            if value.lower() not in known:
                errors.append(f"{at}: {value!r} is none of {sorted(known)}")
            return
        for one in args:
            tried = []
            check(package, one, value, at, tried)
            if not tried:
                return
        errors.append(f"{at}: {value!r} fits none of {args}")
    elif origin is list:
        if not isinstance(value, list):
            errors.append(f"{at}: a list is wanted, not {value!r}")
            return
        for number, one in enumerate(value):
            check(package, args[0], one, f"{at}[{number}]", errors)
    elif origin is dict:
        if not isinstance(value, dict):
            errors.append(f"{at}: an object is wanted, not {value!r}")
            return
        for key, one in value.items():
            check(package, args[1], one, f"{at}.{key}", errors)
    elif typing_extensions.is_typeddict(of):
        check_object(package, of, value, at, errors)
    elif of in (str, int, bool, float):
        kinds = (int, float) if of is float else of
        if not isinstance(value, kinds) or (of is not bool and isinstance(value, bool)):
            errors.append(f"{at}: {of.__name__} is wanted, not {value!r}")
    elif isinstance(of, type) and issubclass(of, enum.Enum):
        if str(value).lower() not in {member.value.lower() for member in of}:
            errors.append(f"{at}: {value!r} is no {of.__name__}")


def check_object(package, of, value, at, errors):
    if not isinstance(value, dict):
        errors.append(f"{at}: an object is wanted, not {value!r}")
        return
    fields, read_only = package.fields(of), package.read_only(of.__name__)
    for key, one in value.items():
        if key not in fields:
            errors.append(f"{at}.{key}: the model {of.__name__} has no such key")
        # A reference names what it refers to by its id.
        elif key in read_only and key not in ("id", "name"):
            errors.append(f"{at}.{key}: it can only be read")
        elif key not in OPEN:
            check(package, fields[key][0], one, f"{at}.{key}", errors)
    for key, (_, required) in fields.items():
        if required and key not in value:
            errors.append(f"{at}.{key}: it is required")


def check_model(package, name, body, at, errors):
    """Packages without types.py: their classes know the wire's names once one was made, and types of these alone."""
    model = getattr(package.models, name)
    model({})
    fields = {field._rest_name: field for field in model._attr_to_rest_field.values()}
    for key, value in body.items():
        if key not in fields:
            errors.append(f"{at}.{key}: the model {name} has no such key")
        elif fields[key]._visibility == ["read"]:
            errors.append(f"{at}.{key}: it can only be read")
        elif key == "location" and not isinstance(value, str):
            errors.append(f"{at}.{key}: str is wanted, not {value!r}")


def main():
    packages, errors = {}, []
    for line in sys.stdin:
        exchange = json.loads(line)
        parts = [part for part in exchange["path"].split("/") if part]
        if not parts or parts[0] != "subscriptions":
            continue
        at = f"{exchange['method']} {exchange['path']}"
        if "api-version=" not in exchange["query"]:
            errors.append(f"{at}: no api-version")
        if exchange["method"] not in ("PUT", "PATCH"):
            if exchange["body"] is not None:
                errors.append(f"{at}: a body that nobody reads")
            continue
        below = parts[parts.index("providers") + 1 :] if "providers" in parts else []
        kind = "/".join([*below[:1], *below[1::2]]).lower()
        if kind not in MODELS:
            errors.append(f"{at}: no model is known for {kind!r}")
            continue
        name, model = MODELS[kind]
        package = packages.setdefault(name, None) or Package(name)
        packages[name] = package
        if package.types is not None:
            check(package, getattr(package.types, model), exchange["body"], at, errors)
        else:
            check_model(package, model, exchange["body"], at, errors)
    for error in sorted(set(errors)):
        print(error)
    return 1 if errors else 0


sys.exit(main())

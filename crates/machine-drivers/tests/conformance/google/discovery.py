"""Holds exchanges with Compute Engine's API against Google's own description of it: the discovery document inside the
package google-api-python-client. Reads JSON lines {"method", "path", "query", "body", "status", "reply"} from the file that
is named; prints what is wrong, one line each, and how many exchanges were held against it."""
import json
import os
import re
import sys
from urllib.parse import parse_qsl, unquote

import googleapiclient

FOLDER = os.path.dirname(googleapiclient.__file__)
with open(os.path.join(FOLDER, "discovery_cache/documents/compute.v1.json")) as document:
    API = json.load(document)
PREFIX = "/" + API["servicePath"]


def methods(resource):
    yield from resource.get("methods", {}).values()
    for inner in resource.get("resources", {}).values():
        yield from methods(inner)


def pattern(path):
    return re.compile("^" + re.sub(r"\\\{\\?\+?(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path)) + "$")


METHODS = [(m, pattern(m.get("flatPath") or m["path"])) for m in methods(API)]


def resolved(schema):
    return API["schemas"][schema["$ref"]] if "$ref" in schema else schema


def scalar(schema, value, at, wrong):
    kind, form = schema.get("type"), schema.get("format")
    if kind == "string":
        if not isinstance(value, str):
            return wrong.append(f"{at}: want a string, got {value!r}")
        if form in ("int64", "uint64") and not re.match(r"^-?\d+$", value):
            wrong.append(f"{at}: want {form}, got {value!r}")
        if "enum" in schema and value not in schema["enum"]:
            wrong.append(f"{at}: {value!r} is none of {schema['enum'][:8]}")
        if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
            wrong.append(f"{at}: {value!r} does not match {schema['pattern']}")
    elif kind == "boolean" and not isinstance(value, bool):
        wrong.append(f"{at}: want a boolean, got {value!r}")
    elif kind in ("integer", "number") and (isinstance(value, bool) or not isinstance(value, (int, float))):
        wrong.append(f"{at}: want a number, got {value!r}")


def check(schema, value, at, wrong, sent):
    """A value against its schema. What is sent may have nothing in it that only the provider writes."""
    schema = resolved(schema)
    if schema.get("type") == "object":
        if not isinstance(value, dict):
            return wrong.append(f"{at}: want an object, got {value!r}")
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        for key, inner in value.items():
            if key in known:
                said = known[key].get("description", "")
                if sent and (known[key].get("readOnly") or said.startswith("[Output Only]")):
                    wrong.append(f"{at}.{key}: only the provider writes this")
                check(known[key], inner, f"{at}.{key}", wrong, sent)
            elif others:
                check(others, inner, f"{at}.{key}", wrong, sent)
            else:
                wrong.append(f"{at}.{key}: there is no such field")
    elif schema.get("type") == "array":
        if not isinstance(value, list):
            return wrong.append(f"{at}: want a list, got {value!r}")
        for number, inner in enumerate(value):
            check(schema["items"], inner, f"{at}[{number}]", wrong, sent)
    else:
        scalar(schema, value, at, wrong)


def split(mask):
    parts, depth, part = [], 0, ""
    for c in mask:
        depth += {"(": 1, ")": -1}.get(c, 0)
        if c == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += c
    return parts + [part]


def fields(schema, mask, at, wrong):
    """Every name in a mask of fields is one of the answer's."""
    schema = resolved(schema)
    while schema.get("type") == "array":
        schema = resolved(schema["items"])
    known = schema.get("properties", {})
    for part in split(mask):
        name, rest = re.match(r"^([*\w]+)(.*)$", part).groups()
        if name == "*":
            inner = schema.get("additionalProperties")
        else:
            inner = known.get(name)
        if inner is None:
            wrong.append(f"fields {at}{name}: there is no such field")
        elif rest:
            fields(inner, rest[1:-1] if rest[0] == "(" else rest[1:], f"{at}{name}/", wrong)


def query(method, text, wrong):
    given = dict(parse_qsl(text, keep_blank_values=True))
    for key, value in given.items():
        parameter = method.get("parameters", {}).get(key) or API["parameters"].get(key)
        if not parameter:
            wrong.append(f"query {key}: there is no such parameter")
        elif parameter.get("type") == "string" and "pattern" in parameter:
            if not re.fullmatch(parameter["pattern"], value):
                wrong.append(f"query {key}: {value!r} does not match {parameter['pattern']}")
    for key, parameter in method.get("parameters", {}).items():
        if parameter.get("required") and parameter["location"] == "query" and key not in given:
            wrong.append(f"query {key}: is missing")
    uuid = given.get("requestId")
    if uuid is not None and not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid):
        wrong.append(f"query requestId: {uuid!r} is no UUID")
    return given


def exchange(one):
    wrong, path = [], one["path"]
    if not path.startswith(PREFIX):
        return [f"{path} is not below {PREFIX}"]
    path = path[len(PREFIX):]
    found = [(m, p.match(path)) for m, p in METHODS if m["httpMethod"] == one["method"]]
    found = [(m, match) for m, match in found if match]
    if not found:
        return ["the API has no such method"]
    method, match = found[0]
    for name, value in match.groupdict().items():
        wanted = method["parameters"][name].get("pattern")
        if wanted and not re.fullmatch(wanted, unquote(value)):
            wrong.append(f"path {name}: {value!r} does not match {wanted}")
    given = query(method, one["query"], wrong)
    body = one["body"]
    if "request" in method:
        check(method["request"], body if body is not None else {}, method["request"]["$ref"], wrong, True)
    elif body is not None:
        wrong.append("a body where there is none")
    if "response" in method and "fields" in given:
        fields(method["response"], given["fields"], "", wrong)
    if "response" in method and one["status"] == 200:
        check(method["response"], one["reply"], "reply " + method["response"]["$ref"], wrong, False)
    return wrong


def main():
    count = 0
    with open(sys.argv[1]) as lines:
        for line in lines:
            one = json.loads(line)
            count += 1
            for wrong in exchange(one):
                print(f"{one['method']} {one['path']}: {wrong}")
    print(f"{count} exchanges")


main()

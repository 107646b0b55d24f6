#!/usr/bin/env python3
"""Holds manifests to Kubernetes' own schemas, and custom resources to their definitions. Unknown fields are mistakes.

    validate.py --crds FOLDER FILE...      needs PyPI's kubernetes-validate
"""
import argparse
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES = "1.37"


def strict(schema):
    """The same schema, that refuses fields which it does not name: the API server drops them without a word."""
    if not isinstance(schema, dict):
        return schema
    made = {key: strict_children(key, value) for key, value in schema.items()}
    if "properties" in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    # It is no keyword of JSON Schema, and a number or a text both are right.
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return made


def strict_children(key, value):
    if key == "properties":
        return {name: strict(child) for name, child in value.items()}
    return strict(value) if key in ("items", "additionalProperties") else value


def definitions(folder):
    """(group/version, kind) -> schema."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.yaml")):
        for crd in yaml.safe_load_all(path.read_text()):
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                # Checked by the API server itself, and named only as "object" here.
                schema["properties"]["metadata"] = {"type": "object"}
                found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def mistakes(document, crds):
    kind = document["apiVersion"], document["kind"]
    # No resource of the API, but a file of kubectl and kind.
    if document["kind"] in ("Kustomization", "Cluster"):
        return
    if kind in crds:
        for error in jsonschema.Draft7Validator(crds[kind]).iter_errors(document):
            yield f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        return
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        yield f"no schema is known for {kind[0]} {kind[1]}: {error}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crds", required=True, metavar="FOLDER")
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    crds, checked, wrong = definitions(args.crds), 0, 0
    for path in args.files:
        for document in filter(None, yaml.safe_load_all(path.read_text())):
            checked += 1
            for mistake in mistakes(document, crds):
                wrong += 1
                print(f"{path}: {document['kind']} {document.get('metadata', {}).get('name')}: {mistake}", file=sys.stderr)
    print(f"{checked} manifests, {wrong} mistakes")
    sys.exit(wrong > 0 or checked == 0)


main()

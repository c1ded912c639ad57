"""The Regions that cfn-lint knows, in groups in which it finds the same in templates.

    python regions.py EXPANDED… > regions.json

What it finds goes by the schemas of the types that the templates have, and most Regions have the same ones. So one Region of
each group stands for all. A group is {"regions": […], "missing": […]}, missing being the types that the Regions do not have.
Regions without AWS Lambda are left out. Runs in the environment that has cfn-lint.
"""

import json
import pathlib
import sys

import cfnlint

types = {"AWS::Lambda::Function"}
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        types |= {resource["Type"] for resource in json.load(file)["Resources"].values()}
types = sorted(kind for kind in types if kind.startswith("AWS::"))
groups = {}
for provider in sorted((pathlib.Path(cfnlint.__file__).parent / "data/schemas/providers").glob("*-*.json")):
    schemas = json.loads(provider.read_text())
    if "AWS::Lambda::Function" in schemas:
        groups.setdefault(tuple(schemas.get(kind) for kind in types), []).append(provider.stem)
out = []
for schemas, regions in groups.items():
    missing = [kind for kind, schema in zip(types, schemas, strict=True) if schema is None]
    out.append({"regions": regions, "missing": missing})
if sum(len(group["regions"]) for group in out) < 40:
    sys.exit("cfn-lint does not keep its schemas where they were: fewer than 40 Regions are there")
json.dump(out, sys.stdout)

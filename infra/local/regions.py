"""The Regions that cfn-lint knows, in groups in which it finds the same in templates.

    python regions.py EXPANDED… > regions.json

What it finds goes by the schemas of the types that the templates have, and most Regions have the same ones. So one Region of
each group stands for all. A group is {"regions": […], "missing": […]}: what would be deployed there by the templates' defaults
although the Regions do not have its type. Regions without AWS Lambda are left out. Runs in the environment that has cfn-lint.
"""

import json
import pathlib
import sys

import cfnlint


class Template:
    """A template that may say by conditions what a Region gets."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            template = json.load(file)
        self.path = path
        self.resources = template["Resources"]
        self.conditions = template.get("Conditions", {})
        self.parameters = template.get("Parameters", {})

    def value(self, what, region):
        if not isinstance(what, dict):
            return what
        name = what["Ref"]
        return region if name == "AWS::Region" else str(self.parameters[name]["Default"])

    def holds(self, condition, region):
        if isinstance(condition, str):
            return self.holds(self.conditions[condition], region)
        ((function, operands),) = condition.items()
        if function == "Condition":
            return self.holds(operands, region)
        if function == "Fn::Equals":
            return self.value(operands[0], region) == self.value(operands[1], region)
        each = [self.holds(operand, region) for operand in operands]
        return {"Fn::And": all, "Fn::Or": any, "Fn::Not": lambda one: not one[0]}[function](each)

    def lacks(self, schemas, region):
        for name, resource in self.resources.items():
            kind = resource["Type"]
            if not kind.startswith("AWS::") or kind.startswith("AWS::CloudFormation::") or kind in schemas:
                continue
            if "Condition" not in resource or self.holds(resource["Condition"], region):
                yield f"{pathlib.Path(self.path).stem} {name}: {kind}"


templates = [Template(path) for path in sys.argv[1:]]
types = sorted({resource["Type"] for template in templates for resource in template.resources.values()})
groups = {}
for provider in sorted((pathlib.Path(cfnlint.__file__).parent / "data/schemas/providers").glob("*-*.json")):
    region, schemas = provider.stem, json.loads(provider.read_text())
    if "AWS::Lambda::Function" in schemas:
        missing = tuple(what for template in templates for what in template.lacks(schemas, region))
        groups.setdefault((missing, tuple(schemas.get(kind) for kind in types)), []).append(region)
if sum(map(len, groups.values())) < 40:
    sys.exit("cfn-lint does not keep its schemas where they were: fewer than 40 Regions are there")
json.dump([{"regions": regions, "missing": missing} for (missing, _), regions in groups.items()], sys.stdout)

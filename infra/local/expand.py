"""A template as CloudFormation has it: what SAM makes of it, with roles, policies and permissions spelled out.

    python expand.py TEMPLATE > expanded.json

Runs in the environment of the AWS SAM CLI, and talks to nobody.
"""

import json
import sys

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform


class Managed:
    """AWS's managed policies by name: none is used."""

    def load(self):
        return {}


with open(sys.argv[1], encoding="utf-8") as file:
    template = yaml_parse(file.read())
if "Transform" in template:
    for resource in template["Resources"].values():
        for uri in ("CodeUri", "DefinitionUri"):
            if uri in resource.get("Properties", {}):
                resource["Properties"][uri] = "s3://bucket/key"
    template = transform(template, {}, Managed())
json.dump(template, sys.stdout, default=str)

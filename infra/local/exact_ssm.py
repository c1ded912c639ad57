"""AWS Systems Manager in ministack, with the public parameters that say which services the Region has: all but those that ministack
has not.
"""

from ministack.services import ssm

for name in ("_get_parameters", "json_response"):
    assert hasattr(ssm, name), f"{ssm.__name__} has no {name}: this is not the version that is expected"

ROOT = "/aws/service/global-infrastructure/"
# What ministack has not, this Region lacks.
LACKING = {"apprunner", "bedrock-agentcore", "emr-serverless", "sagemaker"}

get_parameters = ssm._get_parameters


def get_public_parameters(data):
    names = data.get("Names", [])
    public = [name for name in names if name.startswith(ROOT)]
    if not public:
        return get_parameters(data)
    assert len(public) == len(names), "public parameters are not asked for together with others"
    lacking = [
        name for name in public if name.startswith(f"{ROOT}regions/") and name.rsplit("/", 1)[-1] in LACKING
    ]
    there = [{"Name": name, "Type": "String", "Value": name.rsplit("/", 1)[-1]} for name in public if name not in lacking]
    return ssm.json_response({"Parameters": there, "InvalidParameters": lacking})


ssm._get_parameters = get_public_parameters

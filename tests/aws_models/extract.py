"""Makes requests.json: what the AWS service models of botocore say of the requests that this project sends.

    python extract.py           writes requests.json
    python extract.py --check   fails when requests.json is not what this botocore says

tests/src/aws_model.rs reads it and checks every request of every test. A test that fails since an operation is missing in
it wants that operation in OPERATIONS below; `cargo test --workspace --all-features --test models` says how to run this.

botocore is Apache-2.0, Copyright Amazon.com, Inc. or its affiliates. The AWS CLI brings one of its own.
"""

import json
import pathlib
import sys

try:
    import awscli
    from awscli.botocore.loaders import Loader

    VERSION = f"awscli {awscli.__version__}"
except ImportError:
    import botocore
    from botocore.loaders import Loader

    VERSION = f"botocore {botocore.__version__}"

# By the folders of botocore.
OPERATIONS = {
    "apprunner": ["DescribeService", "ListOperations", "ListServices"],
    "batch": ["DescribeJobDefinitions"],
    "bedrock-agentcore-control": [
        "GetAgentRuntime",
        "GetHarness",
        "ListAgentRuntimeEndpoints",
        "ListAgentRuntimes",
        "ListHarnessEndpoints",
        "ListHarnesses",
    ],
    "cloudformation": ["DescribeStackResource", "DescribeStacks", "GetTemplate"],
    "codebuild": ["BatchGetBuilds", "BatchGetProjects", "ListBuildsForProject", "ListProjects", "StartBuild"],
    "ecr": [
        "BatchCheckLayerAvailability",
        "BatchDeleteImage",
        "BatchGetImage",
        "CreateRepository",
        "DeleteLifecyclePolicy",
        "DeleteRepository",
        "DeleteRepositoryPolicy",
        "DescribeImages",
        "DescribeRegistry",
        "DescribeRepositories",
        "GetAuthorizationToken",
        "GetLifecyclePolicy",
        "GetRegistryPolicy",
        "GetRepositoryPolicy",
        "GetSigningConfiguration",
        "ListImages",
        "ListPullTimeUpdateExclusions",
        "ListTagsForResource",
        "PutImage",
        "PutImageScanningConfiguration",
        "PutImageTagMutability",
        "PutLifecyclePolicy",
        "SetRepositoryPolicy",
        "TagResource",
        "UntagResource",
        "UpdateImageStorageClass",
    ],
    "ecs": [
        "DescribeClusters",
        "DescribeDaemon",
        "DescribeDaemonRevisions",
        "DescribeDaemonTaskDefinition",
        "DescribeServiceRevisions",
        "DescribeServices",
        "DescribeTaskDefinition",
        "DescribeTasks",
        "ListClusters",
        "ListDaemonTaskDefinitions",
        "ListDaemons",
        "ListServiceDeployments",
        "ListServices",
        "ListTaskDefinitions",
        "ListTasks",
    ],
    "eks": ["ListClusters"],
    "emr-serverless": ["GetApplication", "GetJobRun", "ListApplications", "ListJobRuns", "ListSessions"],
    "events": ["ListEventBuses", "ListRuleNamesByTarget", "ListTargetsByRule", "PutEvents"],
    "inspector2": ["ListCoverage"],
    "lambda": ["GetFunction", "Invoke", "ListFunctions"],
    "logs": ["GetLogEvents"],
    "pipes": ["DescribePipe", "ListPipes"],
    "resourcegroupstaggingapi": ["GetResources"],
    "s3": ["DeleteObject", "GetObject", "HeadObject", "ListObjectsV2", "PutObject"],
    "sagemaker": ["DescribeEndpoint", "DescribeModel", "DescribeModelPackage", "ListEndpoints", "ListModels"],
    "scheduler": ["GetSchedule", "ListSchedules"],
    "sns": ["Publish"],
    "sqs": ["DeleteMessageBatch", "ReceiveMessage", "SendMessage"],
    "ssm": ["DeleteParameters", "GetParameters", "GetParametersByPath", "PutParameter"],
    "stepfunctions": ["DescribeStateMachine", "ListStateMachines"],
    "sts": ["GetCallerIdentity"],
}

# What of a shape and of a member says what is valid and how it travels; the rest is for people.
KEPT = (
    "type", "required", "enum", "pattern", "min", "max", "payload", "flattened", "timestampFormat", "jsonvalue", "union",
    "streaming", "document",
)  # fmt: skip
KEPT_OF_MEMBER = ("shape", "location", "locationName", "flattened", "timestampFormat", "jsonvalue", "streaming")


def shape_of(model, name, shapes):
    """Adds a shape and all that it is made of."""
    if name in shapes:
        return
    shape = model["shapes"][name]
    kept = {key: shape[key] for key in KEPT if key in shape}
    shapes[name] = kept

    def member(inner):
        shape_of(model, inner["shape"], shapes)
        return {key: inner[key] for key in KEPT_OF_MEMBER if key in inner}

    if shape["type"] == "structure":
        kept["members"] = {name: member(inner) for name, inner in shape["members"].items()}
    for part in ("member", "key", "value"):
        if part in shape:
            kept[part] = member(shape[part])


def service(name, operations):
    model = Loader().load_service_model(name, "service-2")
    metadata = model["metadata"]
    shapes, extracted = {}, {}
    for operation in operations:
        described = model["operations"][operation]
        http = described.get("http", {})
        extracted[operation] = {"method": http.get("method", "POST"), "uri": http.get("requestUri", "/")}
        if "input" in described:
            extracted[operation]["input"] = described["input"]["shape"]
            shape_of(model, described["input"]["shape"], shapes)
    kept = {
        "version": metadata["apiVersion"],
        "protocol": metadata["protocol"],
        "signingName": metadata.get("signingName", metadata["endpointPrefix"]),
    }
    for key in ("jsonVersion", "targetPrefix"):
        if key in metadata:
            kept[key] = metadata[key]
    return {**kept, "operations": extracted, "shapes": shapes}


def lines(services):
    """JSON with a line for each shape, so that a new version of a model is a short difference."""
    out = ["{", f'"from": {json.dumps(VERSION)},', '"services": {']
    for number, (name, told) in enumerate(services.items()):
        out.append(f"{json.dumps(name)}: {{")
        for key, value in told.items():
            if isinstance(value, dict):
                inner = [f"    {json.dumps(part)}: {json.dumps(what)}" for part, what in sorted(value.items())]
                out += [f"  {json.dumps(key)}: {{", ",\n".join(inner), "  }" if key == "shapes" else "  },"]
            else:
                out.append(f"  {json.dumps(key)}: {json.dumps(value)},")
        out.append("}" if number == len(services) - 1 else "},")
    return "\n".join([*out, "}", "}"]) + "\n"


if __name__ == "__main__":
    file = pathlib.Path(__file__).with_name("requests.json")
    text = lines({name: service(name, operations) for name, operations in OPERATIONS.items()})
    json.loads(text)
    if "--check" in sys.argv:
        sys.exit(0 if file.read_text() == text else f"{file} is not what {VERSION} says: run this without --check")
    file.write_text(text)

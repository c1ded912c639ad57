"""Drives the ECR stub with the AWS SDK for Python, whose client checks every parameter against ECR's own model, and
checks every member of every answer against it too.

    python ecr_stub.py ENDPOINT OPERATION…

The operations are those that have to be driven.
"""

import json
import sys
import urllib.request

try:
    import awscli.botocore.session as session
except ImportError:
    import botocore.session as session

ENDPOINT = sys.argv[1]
CLIENT = session.get_session().create_client(
    "ecr", region_name="eu-west-1", endpoint_url=ENDPOINT, aws_access_key_id="x", aws_secret_access_key="x"
)
MODEL = CLIENT.meta.service_model
SEEN = set()


def check(value, shape, where):
    """The raw answer against the model: known members only, of the right type, with those that are required."""
    if shape.type_name == "structure":
        assert isinstance(value, dict), f"{where} is no object"
        for key, inner in value.items():
            assert key in shape.members, f"{where}.{key} is not in the model"
            check(inner, shape.members[key], f"{where}.{key}")
        for key in shape.required_members:
            assert key in value, f"{where}.{key} is missing"
    elif shape.type_name == "list":
        for inner in value:
            check(inner, shape.member, f"{where}[]")
    elif shape.type_name == "string":
        assert isinstance(value, str), f"{where} is no string"
        if shape.enum:
            assert value in shape.enum, f"{where} is {value}"
    elif shape.type_name in ("integer", "long"):
        assert isinstance(value, int), f"{where} is no whole number"
    elif shape.type_name == "timestamp":
        assert isinstance(value, (int, float)), f"{where} is no time"
    elif shape.type_name == "boolean":
        assert isinstance(value, bool), f"{where} is no boolean"


def call(name, **parameters):
    """Through the client, and once more by hand for what reads only, to see what the client would overlook."""
    SEEN.add(name)
    operation = MODEL.operation_model(name)
    python_name = "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
    answer = getattr(CLIENT, python_name)(**parameters)
    answer.pop("ResponseMetadata")
    if name.startswith(("Describe", "Get", "List", "BatchGet")):
        request = urllib.request.Request(
            ENDPOINT,
            data=json.dumps(parameters).encode(),
            headers={"X-Amz-Target": f"AmazonEC2ContainerRegistry_V20150921.{name}"},
        )
        with urllib.request.urlopen(request) as response:
            check(json.load(response), operation.output_shape, name)
    return answer


def fails(code, name, **parameters):
    """The error, which the operation's model has to know."""
    try:
        call(name, **parameters)
    except CLIENT.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        known = [shape.name for shape in MODEL.operation_model(name).error_shapes]
        assert code in known, f"{name} has no {code}"
        return
    raise AssertionError(f"{name} should fail with {code}")


app = {"repositoryName": "app"}
created = call(
    "CreateRepository",
    **app,
    tags=[{"Key": "a", "Value": "1"}],
    imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
    imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "latest"}],
    imageScanningConfiguration={"scanOnPush": True},
    encryptionConfiguration={"encryptionType": "KMS"},
)["repository"]
arn = {"resourceArn": created["repositoryArn"]}
fails("RepositoryAlreadyExistsException", "CreateRepository", **app)
fails("InvalidParameterException", "CreateRepository", repositoryName="App")
fails(
    "KmsException",
    "CreateRepository",
    repositoryName="other",
    encryptionConfiguration={"encryptionType": "KMS", "kmsKey": "none"},
)
assert call("DescribeRepositories", repositoryNames=["app"])["repositories"] == [created]
fails("RepositoryNotFoundException", "DescribeRepositories", repositoryNames=["missing"])

call("TagResource", **arn, tags=[{"Key": "b", "Value": "2"}])
call("UntagResource", **arn, tagKeys=["a"])
assert call("ListTagsForResource", **arn)["tags"] == [{"Key": "b", "Value": "2"}]
call("PutImageTagMutability", **app, imageTagMutability="MUTABLE")
call("PutImageScanningConfiguration", **app, imageScanningConfiguration={"scanOnPush": False})
now = call("DescribeRepositories", repositoryNames=["app"])["repositories"][0]
assert now["imageTagMutability"] == "MUTABLE" and not now["imageScanningConfiguration"]["scanOnPush"]
assert "imageTagMutabilityExclusionFilters" not in now

fails("LifecyclePolicyNotFoundException", "GetLifecyclePolicy", **app)
policy = json.dumps({"rules": [], "padding": "x" * 100})
call("PutLifecyclePolicy", **app, lifecyclePolicyText=policy)
assert call("GetLifecyclePolicy", **app)["lifecyclePolicyText"] == policy
call("DeleteLifecyclePolicy", **app)
fails("LifecyclePolicyNotFoundException", "DeleteLifecyclePolicy", **app)
fails("RepositoryPolicyNotFoundException", "GetRepositoryPolicy", **app)
call("SetRepositoryPolicy", **app, policyText='{"Statement": []}')
assert json.loads(call("GetRepositoryPolicy", **app)["policyText"]) == {"Statement": []}
fails("InvalidParameterException", "SetRepositoryPolicy", **app, policyText='{"Statement": "999999999999"}')
call("DeleteRepositoryPolicy", **app)
fails("RepositoryPolicyNotFoundException", "DeleteRepositoryPolicy", **app)

# The repository "full" has an index of two images, tagged "v1" and "latest", and 103 images without a tag.
full = {"repositoryName": "full"}
pages, token = [], {}
while True:
    page = call("ListImages", **full, maxResults=50, **token)
    pages.append(page["imageIds"])
    if "nextToken" not in page:
        break
    token = {"nextToken": page["nextToken"]}
assert [len(page) for page in pages] == [50, 50, 8], pages
details = call("DescribeImages", **full, maxResults=1000)["imageDetails"]
assert len(details) == 107
signature = next(image for image in details if "subjectManifestDigest" in image)
# A page holds 100 unless more are asked for.
assert len(call("DescribeImages", **full)["imageDetails"]) == 100
one = [{"imageDigest": signature["imageDigest"]}]
assert len(call("DescribeImages", **full, imageIds=one)["imageDetails"]) == 1
fails("InvalidParameterException", "DescribeImages", **full, imageIds=one, maxResults=5)
fails("ImageNotFoundException", "DescribeImages", **full, imageIds=one + [{"imageTag": "missing"}])
archived = call("UpdateImageStorageClass", **full, imageId=one[0], targetStorageClass="ARCHIVE")
assert archived["imageStatus"] == "ARCHIVED"
everything = call("DescribeImages", **full, maxResults=1000, filter={"imageStatus": "ANY"})["imageDetails"]
assert len(everything) == 107 and any("lastArchivedAt" in image for image in everything)
assert len(call("DescribeImages", **full, maxResults=1000)["imageDetails"]) == 106
index = next(image for image in details if "imageTags" in image)
assert sorted(index["imageTags"]) == ["latest", "v1"]
missing = "sha256:" + "0" * 64
manifest = call("BatchGetImage", **full, imageIds=[{"imageTag": "v1"}])["images"][0]["imageManifest"]
put = call("PutImage", **full, imageManifest=manifest, imageTag="v2")["image"]
assert put["imageId"] == {"imageDigest": index["imageDigest"], "imageTag": "v2"}
fails("ImageAlreadyExistsException", "PutImage", **full, imageManifest=manifest, imageTag="v2")
checked = call("BatchCheckLayerAvailability", **full, layerDigests=[missing])["layers"]
assert checked == [{"layerDigest": missing, "layerAvailability": "UNAVAILABLE"}]
lost = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {"digest": missing}, "layers": []}
fails("LayersNotFoundException", "PutImage", **full, imageManifest=json.dumps(lost), imageTag="lost")
call("BatchDeleteImage", **full, imageIds=[{"imageTag": "v2"}])
got = call("BatchGetImage", **full, imageIds=[{"imageTag": "v1"}, {"imageDigest": missing}])
children = [entry["digest"] for entry in json.loads(got["images"][0]["imageManifest"])["manifests"]]
assert got["failures"][0]["failureCode"] == "ImageNotFound"
answer = call("BatchDeleteImage", **full, imageIds=[{"imageDigest": children[0]}, {"imageTag": "v1"}])
assert answer["failures"][0]["failureCode"] == "ImageReferencedByManifestList"
assert answer["imageIds"] == [{"imageDigest": index["imageDigest"], "imageTag": "v1"}]
answer = call("BatchDeleteImage", **full, imageIds=[{"imageTag": "latest"}, {"imageDigest": children[0]}])
assert len(answer["imageIds"]) == 2 and not answer["failures"]
many = [{"imageDigest": image["imageDigest"]} for image in details[:101]]
fails("InvalidParameterException", "BatchDeleteImage", **full, imageIds=many)
fails("RepositoryNotEmptyException", "DeleteRepository", **full)
call("DeleteRepository", **full, force=True)
fails("RepositoryNotFoundException", "DeleteRepository", **full)

unseen = {call for call in sys.argv[2:]} - SEEN
assert not unseen, f"not driven: {unseen}"

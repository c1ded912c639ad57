"""Fills a registry with a fleet of repositories that have a past: builds, releases for two platforms with signatures, and
images that nothing names. Beside it is a service's repository, whose tag `live` moves.

    python fleet.py ENDPOINT fill NOW       fills the fleet, and prints every repository's images by the names they have here,
                                            as JSON
    python fleet.py ENDPOINT list           prints the digests that are in the fleet
    python fleet.py ENDPOINT service NOW    fills the service's repository, and prints its images by their names
    python fleet.py ENDPOINT move NOW       pushes another image there, to which `live` moves, and prints it
    python fleet.py ENDPOINT builds NOW NAME    pushes five builds to a repository that is there, and prints them by their tags
    python fleet.py ENDPOINT policies       prints the lifecycle policy that ECR has of every repository of the fleet
    python fleet.py ENDPOINT expire NOW NAME    does what ECR does by the lifecycle policy of a repository, and prints what is gone
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from hashlib import sha256

try:
    import awscli.botocore.session as session
except ImportError:
    import botocore.session as session

ENDPOINT, WHAT = sys.argv[1:3]
NOW = datetime.fromisoformat(sys.argv[3].replace("Z", "+00:00")) if len(sys.argv) > 3 else None
REPOSITORIES, BUILDS, RELEASES, ORPHANS = 60, 70, 6, 6
SERVICE = "shop/api"
MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
ECR = session.get_session().create_client(
    "ecr", region_name="eu-west-1", endpoint_url=ENDPOINT, aws_access_key_id="test", aws_secret_access_key="test"
)


def digest(text):
    return "sha256:" + sha256(text.encode()).hexdigest()


def put(repository, what, days, tag=None, **more):
    """Puts an image of so many days, and gives its digest."""
    created = (NOW - timedelta(days=days)).isoformat().replace("+00:00", "Z")
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(repository + what), "size": 7},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(what), "size": 50_000_000}],
        **more,
        "annotations": {"org.opencontainers.image.created": created, "org.opencontainers.image.title": f"{repository} {what}"},
    }
    if manifest["mediaType"] == INDEX:
        del manifest["config"], manifest["layers"]
    text = json.dumps(manifest)
    named = {"imageTag": tag} if tag else {}
    ECR.put_image(repositoryName=repository, imageManifest=text, imageManifestMediaType=manifest["mediaType"], **named)
    return digest(text)


def remove(name):
    try:
        ECR.delete_repository(repositoryName=name, force=True)
    except ECR.exceptions.RepositoryNotFoundException:
        pass


def fill(number):
    name = f"fleet/{number:02}"
    remove(name)
    ECR.create_repository(
        repositoryName=name, imageTagMutability="IMMUTABLE" if number % 2 else "MUTABLE",
        tags=[{"Key": "steward", "Value": "attach" if number % 4 == 3 else "delete"}],
    )
    images = {}
    for build in range(BUILDS):
        tag = f"ci-{build:03}"
        images[tag] = put(name, tag, BUILDS - build, tag)
    for release in range(1, RELEASES + 1):
        version, days = f"v{release}", 10 * (RELEASES + 1 - release) + 0.5
        children = []
        for architecture in ("amd64", "arm64"):
            child = put(name, f"{version}/{architecture}", days + 0.001)
            images[f"{version}/{architecture}"] = child
            platform = {"os": "linux", "architecture": architecture}
            children.append({"mediaType": MANIFEST, "digest": child, "size": 7, "platform": platform})
        index = put(name, version, days, version, mediaType=INDEX, manifests=children)
        images[version] = index
        images[f"{version}/signature"] = put(
            name, f"{version}/signature", days - 0.001, artifactType="application/vnd.dev.cosign.simplesigning.v1+json",
            subject={"mediaType": INDEX, "digest": index, "size": 7},
        )
    for orphan in range(1, ORPHANS + 1):
        images[f"orphan-{5 * orphan:02}"] = put(name, f"orphan {orphan}", 5 * orphan)
    return name, images


def listed(number):
    name = f"fleet/{number:02}"
    pages = ECR.get_paginator("list_images").paginate(repositoryName=name)
    return name, sorted({image["imageDigest"] for page in pages for image in page["imageIds"]})


def signed(what, days, tag):
    """An image of the service, and what cosign says of it: under a tag that names the image, without a subject."""
    image = put(SERVICE, what, days, tag)
    named = image.replace(":", "-") + ".sig"
    signature = put(
        SERVICE, f"{what}/signature", days - 0.001, named,
        layers=[{"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": digest(named), "size": 240}],
    )
    return {what: image, f"{what}/signature": signature}


def service():
    remove(SERVICE)
    ECR.create_repository(repositoryName=SERVICE, imageTagMutability="MUTABLE")
    return {**signed("retired", 90, "v1"), **signed("running", 60, "live")}


def builds(name):
    """Five builds, ten days apart."""
    return {f"build-{number}": put(name, f"build-{number}", 10 * (6 - number), f"build-{number}") for number in range(1, 6)}


def policy(number):
    name = f"fleet/{number:02}"
    try:
        return name, ECR.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"]
    except ECR.exceptions.LifecyclePolicyNotFoundException:
        return name, None


def is_of(selection, tags):
    """Whether a rule is about an image with these tags."""
    patterns = selection.get("tagPatternList") or [prefix + "*" for prefix in selection.get("tagPrefixList", [])]
    kind = selection["tagStatus"]
    if kind == "tagged":
        return all(any(fnmatchcase(tag, pattern) for tag in tags) for pattern in patterns)
    return kind == "any" or not tags


def expiring(name):
    """What ECR takes by the attached policy now, as its documentation has it. It knows nothing of use.

    Rules act by priority; an image that fits the tags of a rule is never taken by a later one. What an index lists and what is
    about another image is not taken as long as those are there.
    """
    pages = ECR.get_paginator("describe_images").paginate(repositoryName=name)
    images = [image for page in pages for image in page["imageDetails"]]
    there, parts = {image["imageDigest"] for image in images}, set()
    for image in images:
        if image.get("imageManifestMediaType") == INDEX:
            asked = ECR.batch_get_image(repositoryName=name, imageIds=[{"imageDigest": image["imageDigest"]}])
            parts |= {child["digest"] for child in json.loads(asked["images"][0]["imageManifest"])["manifests"]}
        if image.get("subjectManifestDigest") in there:
            parts.add(image["imageDigest"])
    images = sorted((image for image in images if image["imageDigest"] not in parts), key=lambda one: one["imagePushedAt"])
    document = json.loads(ECR.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"])
    taken, decided = set(), set()
    for rule in sorted(document["rules"], key=lambda rule: rule["rulePriority"]):
        selection = rule["selection"]
        fitting = [image for image in images if is_of(selection, image.get("imageTags", []))]
        if selection["countType"] == "imageCountMoreThan":
            goes = fitting[:max(len(fitting) - selection["countNumber"], 0)]
        elif selection["countType"] == "sinceImagePushed":
            goes = [image for image in fitting if NOW - image["imagePushedAt"] > timedelta(days=selection["countNumber"])]
        else:
            raise ValueError(f"the story has no such rules: {selection}")
        taken |= {image["imageDigest"] for image in goes} - decided
        decided |= {image["imageDigest"] for image in fitting}
    return taken


def expire(name):
    gone = []
    while taken := sorted(expiring(name)):
        answer = ECR.batch_delete_image(repositoryName=name, imageIds=[{"imageDigest": one} for one in taken])
        if answer["failures"]:
            raise ValueError(answer["failures"])
        gone += taken
    return gone


if WHAT == "service":
    print(json.dumps(service()))
elif WHAT == "move":
    print(json.dumps(signed("next", 30, "live")))
elif WHAT in ("builds", "expire"):
    print(json.dumps({"builds": builds, "expire": expire}[WHAT](sys.argv[4])))
else:
    of_each = {"fill": fill, "list": listed, "policies": policy}[WHAT]
    with ThreadPoolExecutor(4) as pool:
        print(json.dumps(dict(pool.map(of_each, range(REPOSITORIES)))))

"""Amazon ECR in ministack, where it is not as AWS has it: pages, tags, image indexes, storage classes, no registry policy.

An image is as old as its manifest says (`org.opencontainers.image.created`), so that a story can have a past.
"""

import json
import time
from datetime import datetime

from ministack.services import ecr

# What is replaced or called here has to be there: the version is pinned, and another one may name it otherwise.
for name in (
    "_describe_repositories", "_put_image", "_batch_get_image", "_batch_delete_image", "_list_images", "_describe_images",
    "_create_repository", "_put_image_tag_mutability", "_find_image", "_image_digest", "_registry_id", "_repo_shape", "_repositories", "_images",
    "_layer_blobs", "_batch_check_layer_availability", "json_response",
    "error_response_json", "handle_request",
):
    assert hasattr(ecr, name), f"ecr has no {name}: this is not the version that is expected"

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


class Refused(Exception):
    """An error as ECR answers it."""

    def __init__(self, code, message):
        super().__init__(message)
        self.answer = ecr.error_response_json(code, message, 400)


def answering(operation):
    def answer(data):
        try:
            return ecr.json_response(operation(data))
        except Refused as refused:
            return refused.answer

    return answer


def repository(data):
    name = data.get("repositoryName", "")
    if name not in ecr._repositories:
        raise Refused("RepositoryNotFoundException", f"The repository with name '{name}' does not exist")
    return name


def page(data, member, items):
    size, start = data.get("maxResults", 100), int(data.get("nextToken", 0))
    answer = {member: items[start:start + size]}
    if start + size < len(items):
        answer["nextToken"] = str(start + size)
    return answer


def manifest_of(image):
    try:
        return json.loads(image.get("imageManifest") or "{}")
    except ValueError:
        return {}


def pushed_at(image):
    created = manifest_of(image).get("annotations", {}).get("org.opencontainers.image.created")
    if created:
        return datetime.fromisoformat(created.replace("Z", "+00:00")).timestamp()
    return image.get("imagePushedAt", int(time.time()))


def size_of(image):
    manifest = manifest_of(image)
    parts = [manifest.get("config", {}), *manifest.get("layers", [])]
    return max(sum(part.get("size", 0) for part in parts), len(image.get("imageManifest", "")))


def matching(name, image_id):
    """The image of an id; of a digest with a tag both have to fit."""
    digest, tag = image_id.get("imageDigest"), image_id.get("imageTag")
    for image in ecr._images.get(name, []):
        if digest and image["imageDigest"] != digest:
            continue
        if tag and tag not in image.get("imageTags", []):
            continue
        if digest or tag:
            return image
    return None


def failure(image_id, code, reason):
    return {"imageId": image_id, "failureCode": code, "failureReason": reason}


def describe_repositories(data):
    if data.get("repositoryNames"):
        for name in data["repositoryNames"]:
            repository({"repositoryName": name})
        return {"repositories": [ecr._repo_shape(ecr._repositories[name]) for name in data["repositoryNames"]]}
    return page(data, "repositories", [ecr._repo_shape(one) for one in ecr._repositories.values()])


FILTERS = "imageTagMutabilityExclusionFilters"
repo_shape = ecr._repo_shape


def filters_of(one):
    return {FILTERS: one[FILTERS]} if one.get(FILTERS) else {}


def with_filters(operation):
    """Which tags are the exception to the mutability of all others is kept, and told."""

    def operate(data):
        answer = operation(data)
        if answer[0] != 200:
            return answer
        described = ecr._repositories[data["repositoryName"]]
        described.pop(FILTERS, None)
        described.update(filters_of(data))
        told = json.loads(answer[2])
        told.get("repository", told).update(filters_of(data))
        return ecr.json_response(told)

    return operate


def list_images(data):
    name = repository(data)
    status, tags = data.get("filter", {}).get("imageStatus", "ACTIVE"), data.get("filter", {}).get("tagStatus", "ANY")
    ids = []
    for image in ecr._images.get(name, []):
        if status not in ("ANY", image.get("imageStatus", "ACTIVE")):
            continue
        if image.get("imageTags"):
            if tags != "UNTAGGED":
                ids += [{"imageDigest": image["imageDigest"], "imageTag": tag} for tag in image["imageTags"]]
        elif tags != "TAGGED":
            ids.append({"imageDigest": image["imageDigest"]})
    return page(data, "imageIds", ids)


def detail(name, image):
    manifest = manifest_of(image)
    shown = {
        "registryId": ecr._registry_id(), "repositoryName": name, "imageDigest": image["imageDigest"],
        "imageSizeInBytes": size_of(image), "imagePushedAt": pushed_at(image),
        "imageManifestMediaType": image.get("imageManifestMediaType"),
        "artifactMediaType": manifest.get("artifactType") or manifest.get("config", {}).get("mediaType"),
        "imageTags": image.get("imageTags") or None, "imageStatus": image.get("imageStatus", "ACTIVE"),
        "subjectManifestDigest": manifest.get("subject", {}).get("digest"), "lastArchivedAt": image.get("lastArchivedAt"),
    }
    return {member: value for member, value in shown.items() if value is not None}


def describe_images(data):
    name = repository(data)
    if "imageIds" in data:
        images = []
        for image_id in data["imageIds"]:
            image = matching(name, image_id)
            if image is None:
                raise Refused("ImageNotFoundException", f"The image with imageId {image_id} does not exist in '{name}'")
            images.append(detail(name, image))
        return {"imageDetails": images}
    status, tags = data.get("filter", {}).get("imageStatus", "ACTIVE"), data.get("filter", {}).get("tagStatus", "ANY")
    shown = [
        image for image in ecr._images.get(name, [])
        if status in ("ANY", image.get("imageStatus", "ACTIVE"))
        and (tags == "ANY" or (tags == "TAGGED") == bool(image.get("imageTags")))
    ]
    answer = page(data, "imageDetails", shown)
    answer["imageDetails"] = [detail(name, image) for image in answer["imageDetails"]]
    return answer


def keeps(name, tag):
    """Whether a tag cannot be moved."""
    described = ecr._repositories[name]
    filters = [one["filter"] for one in described.get(FILTERS, [])]
    excluded = any(tag.startswith(one[:-1]) if one.endswith("*") else tag == one for one in filters)
    return described.get("imageTagMutability", "MUTABLE").startswith("IMMUTABLE") != excluded


def put_image(data):
    name, manifest, tag = repository(data), data.get("imageManifest", ""), data.get("imageTag")
    read = manifest_of({"imageManifest": manifest})
    digest = ecr._image_digest(manifest)
    images = ecr._images[name]
    missing = [
        child["digest"] for child in read.get("manifests", [])
        if all(image["imageDigest"] != child["digest"] for image in images)
    ]
    if missing:
        raise Refused("ReferencedImagesNotFoundException", f"Images referenced by the manifest are missing: {missing}")
    known = next((image for image in images if image["imageDigest"] == digest), None)
    holder = next((image for image in images if tag and tag in image.get("imageTags", [])), None)
    if known is not None and (not tag or holder is known):
        raise Refused("ImageAlreadyExistsException", f"Image with digest '{digest}' and tag '{tag}' already exists")
    if holder is not None:
        if keeps(name, tag):
            raise Refused("ImageTagAlreadyExistsException", f"The tag '{tag}' is immutable in '{name}'")
        holder["imageTags"].remove(tag)
    if known is None:
        kind = data.get("imageManifestMediaType") or read.get("mediaType")
        known = {
            "registryId": ecr._registry_id(), "repositoryName": name, "imageId": {"imageDigest": digest},
            "imageManifest": manifest, "imageTags": [], "imagePushedAt": int(time.time()), "imageDigest": digest,
            "imageManifestMediaType": kind or "application/vnd.docker.distribution.manifest.v2+json",
        }
        images.append(known)
    if tag:
        known["imageTags"].append(tag)
    return {"image": shown(name, known, tag)}


def shown(name, image, tag):
    image_id = {"imageDigest": image["imageDigest"], **({"imageTag": tag} if tag else {})}
    return {
        "registryId": ecr._registry_id(), "repositoryName": name, "imageId": image_id,
        "imageManifest": image.get("imageManifest", "{}"), "imageManifestMediaType": image.get("imageManifestMediaType"),
    }


def batch_get_image(data):
    name, found, failures = repository(data), [], []
    for image_id in data.get("imageIds", []):
        image = matching(name, image_id)
        if image is None:
            failures.append(failure(image_id, "ImageNotFound", "Requested image not found"))
        else:
            found.append(shown(name, image, image_id.get("imageTag")))
    return {"images": found, "failures": failures}


def batch_delete_image(data):
    name, deleted, failures = repository(data), [], []
    images = ecr._images[name]
    for image_id in data.get("imageIds", []):
        image = matching(name, image_id)
        if image is None:
            failures.append(failure(image_id, "ImageNotFound", "Requested image not found"))
            continue
        digest, tags = image["imageDigest"], image.get("imageTags", [])
        goes = "imageDigest" in image_id or len(tags) == 1
        parents = [
            other["imageDigest"] for other in images
            if other.get("imageManifestMediaType") in INDEXES
            and any(child.get("digest") == digest for child in manifest_of(other).get("manifests", []))
        ]
        if goes and parents:
            reason = f"Requested image referenced by image index: {parents}"
            failures.append(failure(image_id, "ImageReferencedByManifestList", reason))
            continue
        if not goes:
            tags.remove(image_id["imageTag"])
            deleted.append({"imageDigest": digest, "imageTag": image_id["imageTag"]})
            continue
        images.remove(image)
        deleted += [{"imageDigest": digest, "imageTag": tag} for tag in tags] or [{"imageDigest": digest}]
    return {"imageIds": deleted, "failures": failures}


def update_image_storage_class(data):
    name = repository(data)
    image = matching(name, data.get("imageId", {}))
    if image is None:
        raise Refused("ImageNotFoundException", f"The image with imageId {data.get('imageId')} does not exist in '{name}'")
    archived = data.get("targetStorageClass") == "ARCHIVE"
    image["imageStatus"] = "ARCHIVED" if archived else "ACTIVE"
    image["lastArchivedAt" if archived else "lastActivatedAt"] = time.time()
    return {
        "registryId": ecr._registry_id(), "repositoryName": name, "imageId": {"imageDigest": image["imageDigest"]},
        "imageStatus": image["imageStatus"],
    }


def batch_check_layer_availability(data):
    """Layers stay when the last image of theirs is deleted, as in ECR for some time."""
    blobs = ecr._layer_blobs.get(repository(data), {})
    layers = []
    for digest in data.get("layerDigests", []):
        is_there = digest in blobs
        size = len(blobs[digest]) if is_there else 0
        layers.append({"layerDigest": digest, "layerSize": size, "layerAvailability": "AVAILABLE" if is_there else "UNAVAILABLE"})
    return {"layers": layers, "failures": []}


ecr._describe_repositories = answering(describe_repositories)
ecr._repo_shape = lambda one: {**repo_shape(one), **filters_of(one)}
ecr._create_repository = with_filters(ecr._create_repository)
ecr._put_image_tag_mutability = with_filters(ecr._put_image_tag_mutability)
ecr._list_images = answering(list_images)
ecr._describe_images = answering(describe_images)
ecr._put_image = answering(put_image)
ecr._batch_check_layer_availability = answering(batch_check_layer_availability)
ecr._batch_get_image = answering(batch_get_image)
ecr._batch_delete_image = answering(batch_delete_image)
handle_request = ecr.handle_request


def get_registry_policy(data):
    message = f"Registry policy does not exist in the registry with id '{ecr._registry_id()}'"
    raise Refused("RegistryPolicyNotFoundException", message)


MORE = {"UpdateImageStorageClass": update_image_storage_class, "GetRegistryPolicy": get_registry_policy}


async def handle_more(method, path, headers, body, query_params):
    operation = MORE.get(headers.get("x-amz-target", "").rsplit(".", 1)[-1])
    if operation:
        return answering(operation)(json.loads(body))
    return await handle_request(method, path, headers, body, query_params)


ecr.handle_request = handle_more

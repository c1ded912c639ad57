"""Amazon ECS in ministack, where it is not as AWS has it: the digests that tasks and services run by, the revisions and the
deployments of services, managed daemons.

ECS turns the tags of a service into digests when the first task of a deployment starts, and starts every later task by
these; a service revision tells them. Tasks without a service have them turned when they start.
"""

import json
import time

from ministack.services import ecr, ecs

# What is replaced or called here has to be there: the version is pinned, and another one may name it otherwise.
for module, names in {
    ecs: (
        "_ACTION_MAP", "_create_service", "_update_service", "_describe_services", "_list_service_deployments",
        "_describe_service_revisions", "_describe_task_definition", "_run_task", "_dispatch_action", "_primary_deployment",
        "_resolve_cluster_name", "_resolve_service_ref", "_sanitize", "_services", "_tasks", "get_region",
        "get_account_id", "json_response", "error_response_json",
    ),
    ecr: ("_images",),
}.items():
    for name in names:
        assert hasattr(module, name), f"{module.__name__} has no {name}: this is not the version that is expected"

REVISIONS = 20


def digest_of(image):
    """The digest that an image of ECR means now; none for one that is not there."""
    if "@" in image:
        return image.split("@", 1)[1]
    host, _, path = image.partition("/")
    if ".dkr.ecr." not in host:
        return None
    account, region = host.split(".")[0], host.split(".")[3]
    name, _, tag = path.partition(":")
    # The registry may be another account's.
    found = (one for one in ecr._images.get_scoped(account, region, name, []) if (tag or "latest") in one.get("imageTags", []))
    return next((one["imageDigest"] for one in found), None)


def deployment_of(task):
    """The deployment of a service that a task belongs to; none for a task that stands alone."""
    cluster, service = task["clusterArn"].rsplit("/", 1)[-1], task.get("group", "").removeprefix("service:")
    found = ecs._services.get(f"{cluster}/{service}", {}).get("deployments", [])
    return next((one for one in found if one["id"] == task.get("_deployment_id")), None)


run_task = ecs._run_task


def run_task_by_digest(data):
    before = set(ecs._tasks.keys())
    answer = run_task(data)
    for arn in set(ecs._tasks.keys()) - before:
        task = ecs._tasks[arn]
        deployment = deployment_of(task)
        pinned = deployment.setdefault("_image_digests", {}) if deployment else {}
        for container in task["containers"]:
            digest = pinned.get(container["name"]) or digest_of(container["image"])
            if digest:
                pinned[container["name"]] = container["imageDigest"] = digest
    if answer[0] != 200:
        return answer
    arns = [task["taskArn"] for task in json.loads(answer[2])["tasks"]]
    return ecs.json_response({"tasks": [ecs._sanitize(ecs._tasks[arn]) for arn in arns], "failures": []})


def arn_of(service, kind, number):
    cluster = service["clusterArn"].rsplit("/", 1)[-1]
    where = f"arn:aws:ecs:{ecs.get_region()}:{ecs.get_account_id()}"
    return f"{where}:{kind}/{cluster}/{service['serviceName']}/{number}"


def remember(service):
    """Remembers what a service deploys, and numbers it."""
    history = service.setdefault("_history", [])
    deployment = ecs._primary_deployment(service)
    if deployment is None or any(one is deployment for one in history):
        return
    history.append(deployment)
    deployment["_number"] = str(time.time_ns())


def summary(service):
    """What `DescribeServices` tells of a service's revisions: those that run, and what is being deployed."""
    return [
        {
            "arn": arn_of(service, "service-revision", one["_number"]), "requestedTaskCount": one["desiredCount"],
            "runningTaskCount": one["runningCount"], "pendingTaskCount": one["pendingCount"],
        }
        for one in service["deployments"] if "_number" in one
    ]


def asked_for(data):
    """The service that is asked for."""
    cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
    found = ecs._resolve_service_ref(data.get("service", ""))
    return ecs._services.get(f"{cluster}/{found[0]}") if found else None


def deploying(operation):
    def deploy(data):
        # The revision has a number before its first task starts.
        answer = operation(data)
        service = asked_for({**data, "service": data.get("service") or data.get("serviceName", "")})
        if answer[0] == 200 and service:
            remember(service)
        return answer

    return deploy


describe_services = ecs._describe_services


def describe_services_with_revisions(data):
    for service in list(ecs._services.values()):
        service["currentServiceRevisions"] = summary(service)
    return describe_services(data)


STATUSES = {"COMPLETED": "SUCCESSFUL", "IN_PROGRESS": "IN_PROGRESS", "FAILED": "STOPPED"}


def list_service_deployments(data):
    service = asked_for(data)
    if service is None:
        return ecs.error_response_json("ServiceNotFoundException", "Service not found.", 400)
    found = []
    for one in reversed(service.get("_history", [])):
        status = STATUSES[one["rolloutState"]]
        if status in data.get("status", [status]):
            found.append({
                "serviceDeploymentArn": arn_of(service, "service-deployment", one["_number"]),
                "serviceArn": service["serviceArn"], "clusterArn": service["clusterArn"], "createdAt": one["createdAt"],
                "startedAt": one["createdAt"], "status": status,
                "targetServiceRevisionArn": arn_of(service, "service-revision", one["_number"]),
            })
    size, start = data.get("maxResults", 20), int(data.get("nextToken") or 0)
    answer = {"serviceDeployments": found[start:start + size]}
    if start + size < len(found):
        answer["nextToken"] = str(start + size)
    return ecs.json_response(answer)


def describe_service_revisions(data):
    wanted = data.get("serviceRevisionArns", [])
    if not 1 <= len(wanted) <= REVISIONS:
        message = f"The number of service revisions must be between 1 and {REVISIONS}."
        return ecs.error_response_json("InvalidParameterException", message, 400)
    known = {
        arn_of(service, "service-revision", one["_number"]): (service, one)
        for service in list(ecs._services.values()) for one in service.get("_history", [])
    }
    told = []
    for arn in (arn for arn in wanted if arn in known):
        service, one = known[arn]
        told.append({
            "serviceRevisionArn": arn, "serviceArn": service["serviceArn"], "clusterArn": service["clusterArn"],
            "taskDefinition": one["taskDefinition"], "launchType": one["launchType"], "createdAt": one["createdAt"],
            "containerImages": images(one),
        })
    failures = [{"arn": arn, "reason": "MISSING"} for arn in wanted if arn not in known]
    return ecs.json_response({"serviceRevisions": told, "failures": failures})


def images(deployment):
    """What a deployment has pinned: a digest only where a first task has started."""
    described = json.loads(ecs._describe_task_definition({"taskDefinition": deployment["taskDefinition"]})[2])
    pinned = deployment.get("_image_digests", {})
    return [
        {"containerName": one["name"], "image": one["image"]}
        | ({"imageDigest": pinned[one["name"]]} if one["name"] in pinned else {})
        for one in described["taskDefinition"]["containerDefinitions"]
    ]


dispatch_action = ecs._dispatch_action


def dispatch_known(action, data):
    if action not in ecs._ACTION_MAP:
        return ecs.error_response_json("UnknownOperationException", "", 400)
    return dispatch_action(action, data)


ecs._run_task = run_task_by_digest
ecs._create_service = deploying(ecs._create_service)
ecs._update_service = deploying(ecs._update_service)
ecs._describe_services = describe_services_with_revisions
ecs._list_service_deployments = list_service_deployments
ecs._describe_service_revisions = describe_service_revisions
ecs._dispatch_action = dispatch_known
ecs._ACTION_MAP.update({
    "RunTask": ecs._run_task,
    "CreateService": ecs._create_service,
    "UpdateService": ecs._update_service,
    "DescribeServices": ecs._describe_services,
    "ListServiceDeployments": ecs._list_service_deployments,
    "DescribeServiceRevisions": ecs._describe_service_revisions,
    # There are no managed daemons.
    "ListDaemons": lambda data: ecs.json_response({"daemonSummariesList": []}),
    "ListDaemonTaskDefinitions": lambda data: ecs.json_response({"daemonTaskDefinitions": []}),
})

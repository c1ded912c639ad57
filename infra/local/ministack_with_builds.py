"""ministack with what it lacks: builds of AWS CodeBuild that build, events of AWS services without the services, objects of
Amazon S3 with a past.

Started in place of `ministack`. `$LOCAL_BUILDER build` runs one build: it takes it as JSON on standard input, writes its
log to standard output, and at last a line of JSON that says how it went.
"""

import contextvars
import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time

import exact_ecr  # noqa: F401
import exact_ecs  # noqa: F401
import exact_ssm  # noqa: F401
import exact_stacks  # noqa: F401
import exact_states  # noqa: F401
from ministack.services import codebuild, eventbridge, s3

# What is replaced or called here has to be there: the version is pinned, and another one may name it otherwise.
for module, names in {
    codebuild: (
        "_start_build", "_stop_build", "_projects", "_builds", "_build_id", "_make_build_record", "_log_sink",
        "_record_phase", "_finish_build", "json_response", "error_response_json",
    ),
    eventbridge: ("_put_events", "_dispatch_event"),
    s3: ("_fire_s3_event", "_build_object_record"),
}.items():
    for name in names:
        assert hasattr(module, name), f"{module.__name__} has no {name}: this is not the version that is expected"

put_events = eventbridge._put_events
# Whoever plays CodeCommit says what it would say.
eventbridge._put_events = lambda data, allow_aws_source=True: put_events(data, True)

# S3 tells EventBridge the version of an object.
fire_s3_event, dispatch_event = s3._fire_s3_event, eventbridge._dispatch_event
firing = threading.local()


def fire_with_version(*arguments, version_id=None, **more):
    firing.version = version_id
    try:
        fire_s3_event(*arguments, version_id=version_id, **more)
    finally:
        firing.version = None


def dispatch_with_version(event, view=None):
    if event.get("Source") == "aws.s3" and getattr(firing, "version", None):
        detail = json.loads(event["Detail"])
        detail["object"]["version-id"] = firing.version
        event = {**event, "Detail": json.dumps(detail)}
    return dispatch_event(event, view)


s3._fire_s3_event, eventbridge._dispatch_event = fire_with_version, dispatch_with_version

build_object_record = s3._build_object_record


def build_record_with_past(*arguments, **more):
    """An object is as old as its metadata says (`last-modified`), so that a story can have a past."""
    record = build_object_record(*arguments, **more)
    metadata = {name.lower().removeprefix("x-amz-meta-"): value for name, value in record["metadata"].items()}
    return {**record, "last_modified": metadata.get("last-modified", record["last_modified"])}


s3._build_object_record = build_record_with_past

lock = threading.Lock()
# Token to build id, process of a build, and the status that it is to end with when it is killed.
tokens, processes, killed = {}, {}, {}
TOKEN_SECONDS = 300


def tell(build):
    """`CodeBuild Build State Change`, as EventBridge has it."""
    detail = {
        "build-status": build["buildStatus"],
        "project-name": build["projectName"],
        "build-id": build["arn"],
        "current-phase": build["currentPhase"],
        "current-phase-context": "[]",
        "additional-information": {
            "environment": {"environment-variables": build["environment"].get("environmentVariables", [])},
            "source": build["source"],
            "logs": {"deep-link": build["logs"]["deepLink"]},
        },
        "version": "1",
    }
    put_events({"Entries": [{
        "Source": "aws.codebuild", "DetailType": "CodeBuild Build State Change",
        "Detail": json.dumps(detail), "Resources": [build["arn"]],
    }]}, True)


def run(build_id):
    build = codebuild._builds[build_id]
    log = codebuild._log_sink(build)
    process = subprocess.Popen(
        [os.environ["LOCAL_BUILDER"], "build"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )
    with lock:
        processes[build_id] = process
        if build_id in killed:
            os.killpg(process.pid, signal.SIGKILL)
    seconds = build["timeoutInMinutes"] * 60
    timer = threading.Timer(seconds, kill, (build_id, "TIMED_OUT"))
    timer.daemon = True
    timer.start()
    process.stdin.write(json.dumps({
        "buildId": build_id,
        "buildspec": build["source"].get("buildspec", ""),
        "sourceType": build["source"]["type"],
        "sourceLocation": build["source"].get("location", ""),
        "sourceVersion": build.get("sourceVersion", ""),
        "environmentVariables": build["environment"].get("environmentVariables", []),
    }))
    process.stdin.close()
    last = ""
    for line in process.stdout:
        last = line
        if not line.startswith('{"phases":'):
            log(line.rstrip("\n"))
    process.wait()
    timer.cancel()
    with lock:
        status = killed.pop(build_id, None)
        processes.pop(build_id, None)
    outcome = json.loads(last) if last.startswith('{"phases":') else {"phases": [], "exported": {}}
    for phase in outcome["phases"]:
        codebuild._record_phase(build, phase["name"], "SUCCEEDED" if phase["succeeded"] else "FAILED")
        if not phase["succeeded"]:
            build["phases"][-1]["contexts"] = [{"statusCode": "COMMAND_EXECUTION_ERROR", "message": phase["message"]}]
    succeeded = bool(outcome["phases"]) and all(phase["succeeded"] for phase in outcome["phases"])
    build["exportedEnvironmentVariables"] = [
        {"name": name, "value": value} for name, value in outcome["exported"].items()
    ]
    codebuild._finish_build(build, status or ("SUCCEEDED" if succeeded else "FAILED"))
    tell(build)


def kill(build_id, status):
    with lock:
        killed[build_id] = status
        process = processes.get(build_id)
        if process and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def start_build(data):
    project = codebuild._projects.get(data.get("projectName", ""))
    if project is None:
        return codebuild.error_response_json(
            "ResourceNotFoundException", f"Project cannot be found: {data.get('projectName')}", 400)
    token, order = data.get("idempotencyToken"), json.dumps(data, sort_keys=True)
    with lock:
        known = tokens.get(token)
        if token and known and time.time() - known[2] < TOKEN_SECONDS:
            if known[1] != order:
                return codebuild.error_response_json(
                    "InvalidInputException", "Parameters are not those of the first request with this token", 400)
            return codebuild.json_response({"build": copy.deepcopy(codebuild._builds[known[0]])})
        project = copy.deepcopy(project)
        source, environment = project["source"], project["environment"]
        for override, name in (
            ("sourceTypeOverride", "type"), ("sourceLocationOverride", "location"), ("buildspecOverride", "buildspec"),
        ):
            if override in data:
                source[name] = data[override]
        overrides = {variable["name"]: variable for variable in data.get("environmentVariablesOverride", [])}
        kept = [v for v in environment.get("environmentVariables", []) if v["name"] not in overrides]
        environment["environmentVariables"] = kept + list(overrides.values())
        if "computeTypeOverride" in data:
            environment["computeType"] = data["computeTypeOverride"]
        build_id = codebuild._build_id(project["name"])
        build = codebuild._make_build_record(project, build_id, data.get("sourceVersion"))
        del build["endTime"]
        build["logs"]["deepLink"] = f"http://127.0.0.1/logs/{build['logs']['streamName']}"
        build.update(buildStatus="IN_PROGRESS", currentPhase="SUBMITTED", phases=[])
        codebuild._builds[build_id] = build
        if token:
            tokens[token] = (build_id, order, time.time())
    answer = codebuild.json_response({"build": copy.deepcopy(build)})
    tell(build)
    # Accounts and regions are in the context of a request.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run, build_id), daemon=True).start()
    return answer


def stop_build(data):
    build = codebuild._builds.get(data.get("id", ""))
    if build is None:
        return codebuild.error_response_json("ResourceNotFoundException", f"Build cannot be found: {data.get('id')}", 400)
    if build["buildStatus"] == "IN_PROGRESS":
        kill(build["id"], "STOPPED")
    return codebuild.json_response({"build": copy.deepcopy(build)})


codebuild._start_build = start_build
codebuild._stop_build = stop_build

if __name__ == "__main__":
    from ministack.app import main

    sys.argv = ["ministack"]
    main()

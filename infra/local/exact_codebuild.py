"""AWS CodeBuild in ministack, with builds that build.

`$LOCAL_BUILDER build` runs one build: it takes it as JSON on standard input, writes its log to standard output, and at last a line of
JSON that says how it went.
"""

import contextvars
import copy
import json
import os
import signal
import subprocess
import threading
import time

import exact_eventbridge
from ministack.services import codebuild

# What is replaced or called here has to be there: the version is pinned, and another one may name it otherwise.
for name in (
    "_start_build", "_stop_build", "_projects", "_builds", "_build_id", "_make_build_record", "_log_sink", "_record_phase",
    "_finish_build", "json_response", "error_response_json",
):
    assert hasattr(codebuild, name), f"{codebuild.__name__} has no {name}: this is not the version that is expected"

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
    exact_eventbridge.put_events({"Entries": [{
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

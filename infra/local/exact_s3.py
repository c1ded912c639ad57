"""Amazon S3 in ministack, with the versions of objects in its events, objects with a past, and bucket policies that name the account
of the caller.
"""

import json
import threading
from dataclasses import replace

from ministack.core import iam_evaluator
from ministack.services import eventbridge, s3

# What is replaced or called here has to be there: the version is pinned, and another one may name it otherwise.
for module, names in {
    eventbridge: ("_dispatch_event",), s3: ("_fire_s3_event", "_build_object_record"),
    iam_evaluator: ("evaluate_resource_policy",),
}.items():
    for name in names:
        assert hasattr(module, name), f"{module.__name__} has no {name}: this is not the version that is expected"

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

evaluate_resource_policy = iam_evaluator.evaluate_resource_policy


def evaluate_with_variables(doc, ctx, *arguments, **more):
    """The account of the caller stands for its variable. That nothing here speaks TLS is no reason to refuse it."""
    text = doc if isinstance(doc, str) else json.dumps(doc)
    text = text.replace("${aws:PrincipalAccount}", ctx.principal_account)
    return evaluate_resource_policy(text, replace(ctx, secure_transport=True), *arguments, **more)


iam_evaluator.evaluate_resource_policy = evaluate_with_variables

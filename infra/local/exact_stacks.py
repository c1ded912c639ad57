"""AWS CloudFormation in ministack, which does not tell of a resource while it works on it, nor that a stack cleans up, and makes no
alarm of an expression over metrics.
"""

from ministack.services import cloudformation
from ministack.services.cloudformation import custom_resource, handlers, provisioners

for module, names in {
    cloudformation: ("_stacks",),
    custom_resource: ("invoke_custom_resource",),
    handlers: ("_ACTION_HANDLERS", "_describe_stack_resource", "_resolve_stack", "_p"),
    provisioners: ("_cw_metric_alarm_record",),
}.items():
    for name in names:
        assert hasattr(module, name), f"{module.__name__} has no {name}: this is not the version that is expected"

invoke_custom_resource, describe_stack_resource = custom_resource.invoke_custom_resource, handlers._describe_stack_resource
# Stack and logical id to what the resource is meanwhile.
under_way = {}


def invoke_and_tell(request_type, logical_id, props, stack_name, stack_id, resource_type, physical_id=None, old_props=None):
    stack = cloudformation._stacks.get(stack_name) or {}
    if request_type == "Delete" and stack.get("StackStatus") == "UPDATE_IN_PROGRESS":
        stack["StackStatus"] = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
    current = stack.get("_resources", {}).get(logical_id)
    # Of a resource that another one replaced nothing is told: the name is the new one's.
    is_earlier = request_type == "Delete" and current and current.get("PhysicalResourceId") != physical_id
    if not is_earlier:
        under_way[stack_id, logical_id] = {
            **(current or {}), "ResourceType": resource_type, "PhysicalResourceId": physical_id or "",
            "ResourceStatus": f"{request_type.upper()}_IN_PROGRESS",
        }
    try:
        return invoke_custom_resource(
            request_type, logical_id, props, stack_name, stack_id, resource_type, physical_id, old_props
        )
    finally:
        under_way.pop((stack_id, logical_id), None)


def describe_as_aws_does(params):
    stack = handlers._resolve_stack(handlers._p(params, "StackName"))
    logical_id = handlers._p(params, "LogicalResourceId")
    meanwhile = stack and under_way.get((stack["StackId"], logical_id))
    if not meanwhile:
        return describe_stack_resource(params)
    resources = stack.setdefault("_resources", {})
    before = resources.get(logical_id)
    resources[logical_id] = meanwhile
    try:
        return describe_stack_resource(params)
    finally:
        if before is None:
            del resources[logical_id]
        else:
            resources[logical_id] = before


custom_resource.invoke_custom_resource = invoke_and_tell
handlers._describe_stack_resource = describe_as_aws_does
handlers._ACTION_HANDLERS["DescribeStackResource"] = describe_as_aws_does

metric_alarm_record = provisioners._cw_metric_alarm_record


def alarm_of_first_metric(name, props):
    """Nobody looks at alarms here: one of an expression is there as one of the first metric in it."""
    statistics = [one["MetricStat"] for one in props.get("Metrics") or [] if "MetricStat" in one]
    if not statistics:
        return metric_alarm_record(name, props)
    first = statistics[0]
    simple = {**props, **first["Metric"], "Period": first["Period"], "Statistic": first["Stat"], "Metrics": None}
    return metric_alarm_record(name, simple)


provisioners._cw_metric_alarm_record = alarm_of_first_metric

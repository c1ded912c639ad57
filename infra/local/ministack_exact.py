"""ministack with what it lacks: the patches of its services, one file each. Started in place of `ministack`."""

import sys

import exact_codebuild  # noqa: F401
import exact_ecr  # noqa: F401
import exact_ecs  # noqa: F401
import exact_eventbridge  # noqa: F401
import exact_s3  # noqa: F401
import exact_ssm  # noqa: F401
import exact_stacks  # noqa: F401
import exact_states  # noqa: F401

if __name__ == "__main__":
    from ministack.app import main

    sys.argv = ["ministack"]
    main()

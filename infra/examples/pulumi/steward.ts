// The two custom resources of ecr-steward as components that read like awsx.ecr's. Each is a small stack of CloudFormation: the
// functions behind the resources answer nobody else.
import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

/** What the stack is called whose functions do the work. */
const steward = new pulumi.Config().get("stewardStack") ?? "ecr-steward";

/** Which images a rule is about. */
export type Selection = "untagged" | "any" | { tagPrefixList: string[] } | { tagPatternList: string[] };

/** A rule of a lifecycle policy: one limit, as in awsx. */
export interface LifecyclePolicyRule {
    description?: string;
    selection: Selection;
    maximumNumberOfImages?: number;
    maximumAgeLimit?: number;
    maximumDaysSincePull?: number;
    maximumDaysInArchive?: number;
    action?: "expire" | "archive";
}

/** What a repository is asked for with. */
export interface RepositoryArgs {
    /** Its name; one made of the stack's and the resource's unless given. */
    name?: pulumi.Input<string>;
    /** Whether images go with the repository. One that is in use keeps it all the same. */
    forceDelete?: boolean;
    imageTagMutability?: "MUTABLE" | "IMMUTABLE";
    /** Keep one untagged image, unless given. */
    lifecyclePolicy?: { skip?: boolean; rules?: LifecyclePolicyRule[] };
    tags?: Record<string, string>;
}

/** Names as CloudFormation spells them: with a capital. */
function capitalized(value: unknown): unknown {
    if (Array.isArray(value)) {
        return value.map(capitalized);
    }
    if (value !== null && typeof value === "object") {
        const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
        return Object.fromEntries(
            entries.map(([name, inner]) => [name.charAt(0).toUpperCase() + name.slice(1), capitalized(inner)]),
        );
    }
    return value;
}

/** One custom resource, in a stack of its own; gives the stack, whose outputs are the attributes. */
function custom(
    name: string,
    type: string,
    exported: string,
    properties: pulumi.Input<Record<string, unknown>>,
    attributes: string[],
    options: pulumi.CustomResourceOptions,
): aws.cloudformation.Stack {
    const templateBody = pulumi.output(properties).apply((properties) =>
        JSON.stringify({
            AWSTemplateFormatVersion: "2010-09-09",
            Resources: {
                It: {
                    Type: type,
                    Properties: { ServiceToken: { "Fn::ImportValue": `${steward}-${exported}` }, ...properties },
                },
            },
            Outputs: Object.fromEntries(
                attributes.map((attribute) => [attribute, { Value: { "Fn::GetAtt": ["It", attribute] } }]),
            ),
        }),
    );
    return new aws.cloudformation.Stack(name, { templateBody }, options);
}

/** A repository, as awsx.ecr.Repository. */
export class Repository extends pulumi.ComponentResource {
    /** Where to push to and pull from, without a tag. */
    public readonly url: pulumi.Output<string>;
    /** Its name. */
    public readonly name: pulumi.Output<string>;

    constructor(name: string, args: RepositoryArgs = {}, options?: pulumi.ComponentResourceOptions) {
        super("ecr-steward:index:Repository", name, {}, options);
        const properties = pulumi.output(args.name).apply((repositoryName) => ({
            RepositoryName: repositoryName,
            EmptyOnDelete: args.forceDelete === true ? "true" : undefined,
            ImageTagMutability: args.imageTagMutability,
            // The text is the simple model as it stands: its names have no capitals.
            LifecyclePolicyText: args.lifecyclePolicy && JSON.stringify(args.lifecyclePolicy),
            Tags: Object.entries(args.tags ?? {}).map(([Key, Value]) => ({ Key, Value })),
        }));
        const stack = custom(
            `${name}-repository`,
            "Custom::EcrRepository",
            "RepositoryResourceFunctionArn",
            properties,
            ["RepositoryUri", "RepositoryName"],
            { parent: this },
        );
        this.url = stack.outputs.apply((outputs) => outputs.RepositoryUri);
        this.name = stack.outputs.apply((outputs) => outputs.RepositoryName);
        this.registerOutputs({ url: this.url, name: this.name });
    }
}

/** What an image is built with. */
export interface ImageArgs {
    repository: Repository;
    /** The folder that is the build context. */
    context: string;
    dockerfile?: string;
    target?: string;
    args?: Record<string, string>;
    platform?: "linux/amd64" | "linux/arm64";
}

/** An image of a folder, built by the stack, as awsx.ecr.Image. */
export class Image extends pulumi.ComponentResource {
    /** What tasks, pods and functions run: by digest, so that it is another one exactly when the image is. */
    public readonly imageUri: pulumi.Output<string>;

    constructor(name: string, args: ImageArgs, options?: pulumi.ComponentResourceOptions) {
        super("ecr-steward:index:Image", name, {}, options);
        const bucket = aws.cloudformation.getExportOutput({ name: `${steward}-SourceBucketName` }).value;
        const source = new aws.s3.BucketObjectv2(
            `${name}-source`,
            { bucket, key: `uploads/${name}.zip`, source: new pulumi.asset.FileArchive(args.context) },
            { parent: this },
        );
        const properties = pulumi
            .all([args.repository.name, source.key, source.versionId])
            .apply(([RepositoryName, key, versionId]) => ({
                RepositoryName,
                ServiceTimeout: "3600",
                ...(capitalized({
                    dockerfile: args.dockerfile,
                    target: args.target,
                    platforms: args.platform && [args.platform],
                }) as Record<string, unknown>),
                // The names of arguments are theirs.
                BuildArgs: args.args,
                Source: { S3: { Key: key, VersionId: versionId } },
            }));
        const stack = custom(
            `${name}-image`,
            "Custom::EcrImage",
            "ImageResourceFunctionArn",
            properties,
            ["ImageUri"],
            { parent: this, customTimeouts: { create: "70m", update: "70m" } },
        );
        this.imageUri = stack.outputs.apply((outputs) => outputs.ImageUri);
        this.registerOutputs({ imageUri: this.imageUri });
    }
}
